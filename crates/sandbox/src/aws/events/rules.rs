//! Rules of a bus, and their targets.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::super::super::accounts::{CONTROLLER_ACCOUNT, REGION};
use super::super::super::pattern;
use super::super::sfn::STATE_MACHINE_ARN;
use super::{DEFAULT_BUS, PANDA_BUS};

/// A rule, with the original text and the parsed form of its pattern.
#[derive(Clone, Debug)]
pub struct EventRule {
    pub name: String,
    pub arn: String,
    pub text: String,
    pub pattern: Value,
    pub enabled: bool,
    pub description: Option<String>,
    pub targets: BTreeMap<String, Value>,
}

impl EventRule {
    /// The rule with which the controller's bus starts the state machine.
    pub fn of_pipeline() -> Self {
        let pattern = json!({"source": ["aws.ecr"], "detail-type": ["ECR Image Action"]});
        let name = "panda-pipeline".to_owned();
        Self {
            arn: rule_arn(CONTROLLER_ACCOUNT, PANDA_BUS, &name),
            name,
            text: pattern.to_string(),
            pattern,
            enabled: true,
            description: Some("starts the deployment pipeline".to_owned()),
            targets: BTreeMap::from([("pipeline".to_owned(), json!({"Id": "pipeline", "Arn": STATE_MACHINE_ARN}))]),
        }
    }

    /// Returns true if the rule is enabled and matches the event.
    pub fn takes(&self, event: &Value) -> bool {
        self.enabled && pattern::matches(&self.pattern, event)
    }

    /// ARN and role of each target.
    pub fn target_roles(&self) -> Vec<(String, Option<String>)> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        self.targets.values().filter_map(|target| Some((text(&target["Arn"])?, text(&target["RoleArn"])))).collect()
    }

    /// Repositories that the pattern names, for the counters of effects.
    pub fn repositories(&self) -> Vec<String> {
        let names = self.pattern["detail"]["repository-name"].as_array();
        names.into_iter().flatten().filter_map(|name| name.as_str().map(str::to_owned)).collect()
    }
}

/// The ARN of a rule: the default bus is not part of it.
pub fn rule_arn(account: &str, bus: &str, name: &str) -> String {
    let path = if bus == DEFAULT_BUS { name.to_owned() } else { format!("{bus}/{name}") };
    format!("arn:aws:events:{REGION}:{account}:rule/{path}")
}
