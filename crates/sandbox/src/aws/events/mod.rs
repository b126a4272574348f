//! `EventBridge`: buses with their policies, rules with their patterns, and targets.

pub mod policy;
mod rules;

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::accounts::{AwsCaller, CONTROLLER_ACCOUNT, REGION, USER_ACCOUNT};
use super::error::AwsError;
pub use rules::{EventRule, rule_arn};

/// The controller's bus that receives the users' events.
pub const PANDA_BUS: &str = "panda";
const DEFAULT_BUS: &str = "default";

#[derive(Clone, Debug)]
pub struct Bus {
    pub account: String,
    pub name: String,
    pub statements: Vec<Value>,
    pub rules: BTreeMap<String, EventRule>,
}

/// The buses of both accounts.
#[derive(Clone, Debug)]
pub struct Buses(Vec<Bus>);

pub fn bus_arn(account: &str, name: &str) -> String {
    format!("arn:aws:events:{REGION}:{account}:event-bus/{name}")
}

impl Buses {
    /// Both default buses and the controller's bus, whose rule starts the state machine.
    pub fn new() -> Self {
        let bus = |account: &str, name: &str| Bus {
            account: account.to_owned(),
            name: name.to_owned(),
            statements: Vec::new(),
            rules: BTreeMap::new(),
        };
        let mut receiving = bus(CONTROLLER_ACCOUNT, PANDA_BUS);
        let rule = EventRule::of_pipeline();
        receiving.rules.insert(rule.name.clone(), rule);
        Self(vec![bus(USER_ACCOUNT, DEFAULT_BUS), bus(CONTROLLER_ACCOUNT, DEFAULT_BUS), receiving])
    }

    /// The buses with the rules, targets and policies of three states of them.
    pub fn merged(rules: &Self, targets: &Self, policies: &Self) -> Self {
        let mut merged = rules.clone();
        for bus in &mut merged.0 {
            let same =
                |all: &Self| all.0.iter().find(|other| other.account == bus.account && other.name == bus.name).cloned();
            bus.statements = same(policies).map(|other| other.statements).unwrap_or_default();
            let other = same(targets);
            for rule in bus.rules.values_mut() {
                let seen = other.as_ref().and_then(|other| other.rules.get(&rule.name));
                rule.targets = seen.map(|seen| seen.targets.clone()).unwrap_or_default();
            }
        }
        merged
    }

    /// Finds the caller's bus by name or ARN; the default bus when neither is given.
    pub fn find(&self, caller: &AwsCaller, bus: Option<&str>) -> Result<&Bus, AwsError> {
        let wanted = bus.unwrap_or(DEFAULT_BUS);
        self.0
            .iter()
            .find(|bus| bus.account == caller.account && (bus.name == wanted || bus.arn() == wanted))
            .ok_or_else(|| missing_bus(wanted))
    }

    pub fn find_mut(&mut self, caller: &AwsCaller, bus: Option<&str>) -> Result<&mut Bus, AwsError> {
        let wanted = bus.unwrap_or(DEFAULT_BUS);
        self.0
            .iter_mut()
            .find(|bus| bus.account == caller.account && (bus.name == wanted || bus.arn() == wanted))
            .ok_or_else(|| missing_bus(wanted))
    }

    /// ARNs of the targets of all rules on `bus` that match the event. Omits buses of other accounts whose policy does
    /// not permit this account.
    pub fn targets(&self, bus: &str, event: &Value) -> Vec<String> {
        let Some(from) = self.0.iter().find(|candidate| candidate.arn() == bus) else { return Vec::new() };
        let arns = from.rules.values().filter(|rule| rule.takes(event)).flat_map(EventRule::target_arns);
        arns.filter(|arn| self.takes_from(&from.account, arn)).collect()
    }

    /// Returns true if the target `arn` accepts events of `account`: a bus of another account needs a policy that permits it.
    pub fn takes_from(&self, account: &str, arn: &str) -> bool {
        match self.0.iter().find(|to| to.arn() == arn) {
            Some(to) => to.account == account || policy::permits(&to.statements, account, arn),
            None => true,
        }
    }
}

impl Bus {
    pub fn arn(&self) -> String {
        bus_arn(&self.account, &self.name)
    }
}

fn missing_bus(name: &str) -> AwsError {
    let name = name.rsplit('/').next().unwrap_or(name);
    AwsError::new("ResourceNotFoundException", format!("Event bus {name} does not exist."))
}
