//! Rules and their targets.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::super::accounts::{CONTROLLER_ACCOUNT, Caller, REGION};
use super::super::super::effects::{RepositoryEffects, count};
use super::super::super::pattern;
use super::super::super::world::{State, World};
use super::super::error::AwsError;
use super::super::sfn::STATE_MACHINE_ARN;
use super::{Bus, DEFAULT_BUS, PANDA_BUS};

const MOST_TARGETS: usize = 5;

/// A rule, its pattern both as it was put and parsed.
#[derive(Debug)]
pub struct Rule {
    pub name: String,
    arn: String,
    text: String,
    pattern: Value,
    enabled: bool,
    description: Option<String>,
    /// By target id.
    targets: BTreeMap<String, Value>,
}

impl Rule {
    /// The rule by which the controller's bus starts the state machine.
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

    /// Whether the event is for this rule.
    pub fn takes(&self, event: &Value) -> bool {
        self.enabled && pattern::matches(&self.pattern, event)
    }

    /// Where its events go.
    pub fn target_arns(&self) -> Vec<String> {
        self.targets.values().filter_map(|target| target["Arn"].as_str().map(str::to_owned)).collect()
    }

    /// The repositories that the pattern names, for the counters.
    fn repositories(&self) -> Vec<String> {
        let names = self.pattern["detail"]["repository-name"].as_array();
        names.into_iter().flatten().filter_map(|name| name.as_str().map(str::to_owned)).collect()
    }
}

fn rule_arn(account: &str, bus: &str, name: &str) -> String {
    let path = if bus == DEFAULT_BUS { name.to_owned() } else { format!("{bus}/{name}") };
    format!("arn:aws:events:{REGION}:{account}:rule/{path}")
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Put {
    name: String,
    event_pattern: Option<String>,
    state: Option<String>,
    description: Option<String>,
    event_bus_name: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ByName {
    #[serde(alias = "Rule")]
    name: String,
    event_bus_name: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PutTargets {
    rule: String,
    event_bus_name: Option<String>,
    targets: Vec<Value>,
}

pub fn put(world: &World, caller: &Caller, new: Put) -> Result<Value, AwsError> {
    let fits = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
    if new.name.is_empty() || new.name.len() > 64 || !fits(&new.name) {
        let message = r"Value at 'name' must satisfy: at most 64 characters of [\.\-_A-Za-z0-9]+";
        return Err(AwsError::new("ValidationException", message));
    }
    let text = new.event_pattern.ok_or_else(|| {
        AwsError::new("ValidationException", "Parameter(s) EventPattern or ScheduleExpression must be specified.")
    })?;
    let pattern: Value = serde_json::from_str(&text).map_err(|error| {
        AwsError::new("InvalidEventPatternException", format!("Event pattern is not valid. Reason: {error}"))
    })?;
    if let Some(flaw) = pattern::flaw(&pattern) {
        return Err(AwsError::new("InvalidEventPatternException", flaw));
    }
    world.change(|state| {
        let bus = state.buses.find_mut(caller, new.event_bus_name.as_deref())?;
        let arn = rule_arn(&caller.account, &bus.name, &new.name);
        // An upsert keeps the targets.
        let targets = bus.rules.remove(&new.name).map(|old| old.targets).unwrap_or_default();
        let enabled = new.state.as_deref() != Some("DISABLED");
        let rule = Rule {
            name: new.name.clone(),
            arn: arn.clone(),
            text,
            pattern,
            enabled,
            description: new.description,
            targets,
        };
        let repositories = rule.repositories();
        bus.rules.insert(new.name.clone(), rule);
        tally(state, &repositories, |effects| count(&mut effects.rules, &new.name));
        Ok(json!({"RuleArn": arn}))
    })
}

pub fn describe(world: &World, caller: &Caller, wanted: &ByName) -> Result<Value, AwsError> {
    world.read(|state| {
        let bus = state.buses.find(caller, wanted.event_bus_name.as_deref())?;
        let rule = find(bus, &wanted.name)?;
        let mut answer = json!({
            "Name": rule.name, "Arn": rule.arn, "EventPattern": rule.text, "EventBusName": bus.name,
            "State": if rule.enabled { "ENABLED" } else { "DISABLED" }, "CreatedBy": bus.account,
        });
        if let Some(description) = &rule.description {
            answer["Description"] = json!(description);
        }
        Ok(answer)
    })
}

pub fn put_targets(world: &World, caller: &Caller, new: PutTargets) -> Result<Value, AwsError> {
    for target in &new.targets {
        for field in ["Id", "Arn"] {
            if target[field].as_str().is_none_or(str::is_empty) {
                return Err(AwsError::new("ValidationException", format!("Each target needs {field}.")));
            }
        }
    }
    let fail = world.faults.take(|faults| Some(&mut faults.put_targets_failures));
    let refuse_unpermitted = world.faults.get().refuse_unpermitted_targets;
    world.change(|state| {
        let unpermitted = |target: &Value| {
            target["Arn"].as_str().is_some_and(|arn| !state.buses.takes_from(&caller.account, arn))
        };
        if refuse_unpermitted && new.targets.iter().any(unpermitted) {
            let message = "The target event bus does not permit events:PutEvents from this account.";
            return Err(AwsError::new("AccessDeniedException", message));
        }
        let bus = state.buses.find_mut(caller, new.event_bus_name.as_deref())?;
        let rule = find_mut(bus, &new.rule)?;
        if fail {
            let entry = |target: &Value| json!({"TargetId": target["Id"], "ErrorCode": "InternalFailure", "ErrorMessage": "the target could not be added"});
            let entries: Vec<Value> = new.targets.iter().map(entry).collect();
            return Ok(json!({"FailedEntryCount": entries.len(), "FailedEntries": entries}));
        }
        let ids: Vec<String> = new.targets.iter().filter_map(|target| target["Id"].as_str().map(str::to_owned)).collect();
        if rule.targets.len() + ids.iter().filter(|id| !rule.targets.contains_key(*id)).count() > MOST_TARGETS {
            return Err(AwsError::new("LimitExceededException", "The requested resource exceeds the maximum number allowed."));
        }
        rule.targets.extend(ids.iter().cloned().zip(new.targets));
        let repositories = rule.repositories();
        tally(state, &repositories, |effects| ids.iter().for_each(|id| count(&mut effects.targets, &format!("{}/{id}", new.rule))));
        Ok(json!({"FailedEntryCount": 0, "FailedEntries": []}))
    })
}

pub fn list_targets(world: &World, caller: &Caller, wanted: &ByName) -> Result<Value, AwsError> {
    world.read(|state| {
        let rule = find(state.buses.find(caller, wanted.event_bus_name.as_deref())?, &wanted.name)?;
        Ok(json!({"Targets": rule.targets.values().collect::<Vec<_>>()}))
    })
}

fn find<'a>(bus: &'a Bus, rule: &str) -> Result<&'a Rule, AwsError> {
    bus.rules.get(rule).ok_or_else(|| missing(bus, rule))
}

fn find_mut<'a>(bus: &'a mut Bus, rule: &str) -> Result<&'a mut Rule, AwsError> {
    let error = missing(bus, rule);
    bus.rules.get_mut(rule).ok_or(error)
}

fn missing(bus: &Bus, rule: &str) -> AwsError {
    AwsError::new("ResourceNotFoundException", format!("Rule {rule} does not exist on EventBus {}.", bus.name))
}

fn tally(state: &mut State, repositories: &[String], mut add: impl FnMut(&mut RepositoryEffects)) {
    for repository in repositories {
        add(state.effects.of(repository));
    }
}
