//! The calls about rules and targets.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::accounts::AwsCaller;
use crate::aws::error::AwsError;
use crate::aws::events::{Bus, EventRule, rule_arn};
use crate::effects::{RepositoryEffects, count};
use crate::pattern;
use crate::simulation::{AwsState, Simulation};

const MAX_TARGETS: usize = 5;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PutRule {
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

pub fn put(simulation: &Simulation, caller: &AwsCaller, new: PutRule) -> Result<Value, AwsError> {
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
    simulation.change(|state| {
        let bus = state.buses.find_mut(caller, new.event_bus_name.as_deref())?;
        let arn = rule_arn(&caller.account, &bus.name, &new.name);
        // Replacing a rule keeps its targets.
        let targets = bus.rules.remove(&new.name).map(|old| old.targets).unwrap_or_default();
        let enabled = new.state.as_deref() != Some("DISABLED");
        let rule = EventRule {
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

pub fn describe(simulation: &Simulation, caller: &AwsCaller, wanted: &ByName) -> Result<Value, AwsError> {
    simulation.buses(|buses| {
        let bus = buses.find(caller, wanted.event_bus_name.as_deref())?;
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

pub fn put_targets(simulation: &Simulation, caller: &AwsCaller, new: PutTargets) -> Result<Value, AwsError> {
    for target in &new.targets {
        for field in ["Id", "Arn"] {
            if target[field].as_str().is_none_or(str::is_empty) {
                return Err(AwsError::new("ValidationException", format!("Each target needs {field}.")));
            }
        }
    }
    let failure = simulation.faults.partial("events:PutTargets");
    let refuse_unpermitted = simulation.faults.get().refuse_unpermitted_targets;
    simulation.change(|state| {
        let unpermitted =
            |target: &Value| target["Arn"].as_str().is_some_and(|arn| !state.buses.takes_from(&caller.account, arn));
        if refuse_unpermitted && new.targets.iter().any(unpermitted) {
            let message = "The target event bus does not permit events:PutEvents from this account.";
            return Err(AwsError::new("AccessDeniedException", message));
        }
        let bus = state.buses.find_mut(caller, new.event_bus_name.as_deref())?;
        let rule = find_mut(bus, &new.rule)?;
        let mut targets = new.targets;
        let failed = failure.filter(|_| !targets.is_empty()).map(|failure| {
            json!({"TargetId": targets.remove(0)["Id"], "ErrorCode": failure.code, "ErrorMessage": failure.message})
        });
        let ids: Vec<String> = targets.iter().filter_map(|target| target["Id"].as_str().map(str::to_owned)).collect();
        if rule.targets.len() + ids.iter().filter(|id| !rule.targets.contains_key(*id)).count() > MAX_TARGETS {
            return Err(AwsError::new(
                "LimitExceededException",
                "The requested resource exceeds the maximum number allowed.",
            ));
        }
        rule.targets.extend(ids.iter().cloned().zip(targets));
        let repositories = rule.repositories();
        tally(state, &repositories, |effects| {
            for id in &ids {
                count(&mut effects.targets, &format!("{}/{id}", new.rule));
            }
        });
        Ok(json!({"FailedEntryCount": usize::from(failed.is_some()), "FailedEntries": failed.as_slice()}))
    })
}

pub fn list_targets(simulation: &Simulation, caller: &AwsCaller, wanted: &ByName) -> Result<Value, AwsError> {
    simulation.buses(|buses| {
        let rule = find(buses.find(caller, wanted.event_bus_name.as_deref())?, &wanted.name)?;
        Ok(json!({"Targets": rule.targets.values().collect::<Vec<_>>()}))
    })
}

fn find<'a>(bus: &'a Bus, rule: &str) -> Result<&'a EventRule, AwsError> {
    bus.rules.get(rule).ok_or_else(|| missing(bus, rule))
}

fn find_mut<'a>(bus: &'a mut Bus, rule: &str) -> Result<&'a mut EventRule, AwsError> {
    let error = missing(bus, rule);
    bus.rules.get_mut(rule).ok_or(error)
}

fn missing(bus: &Bus, rule: &str) -> AwsError {
    AwsError::new("ResourceNotFoundException", format!("Rule {rule} does not exist on EventBus {}.", bus.name))
}

fn tally(state: &mut AwsState, repositories: &[String], mut add: impl FnMut(&mut RepositoryEffects)) {
    for repository in repositories {
        add(state.effects.of(repository));
    }
}
