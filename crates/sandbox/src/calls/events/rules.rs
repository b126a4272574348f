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
/// EventBridge's default quota of rules on a bus.
const MAX_RULES: usize = 300;
/// Rules on one page of `ListRules`.
const PAGE: usize = 100;

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
        if !bus.rules.contains_key(&new.name) && bus.rules.len() >= MAX_RULES {
            return Err(AwsError::new(
                "LimitExceededException",
                "The requested resource exceeds the maximum number allowed.",
            ));
        }
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
        let mut answer = described(bus, find(bus, &wanted.name)?);
        answer["CreatedBy"] = json!(bus.account);
        Ok(answer)
    })
}

/// A rule as `DescribeRule` and `ListRules` show it.
fn described(bus: &Bus, rule: &EventRule) -> Value {
    let mut answer = json!({
        "Name": rule.name, "Arn": rule.arn, "EventPattern": rule.text, "EventBusName": bus.name,
        "State": if rule.enabled { "ENABLED" } else { "DISABLED" },
    });
    if let Some(description) = &rule.description {
        answer["Description"] = json!(description);
    }
    answer
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
        find(bus, &new.rule)?;
        new.targets.iter().try_for_each(|target| check_role(simulation, bus, &new.rule, target))?;
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

/// Since February 2023 a target that is a bus of another account or region needs a role, in the rule's own account, that EventBridge may assume.
fn check_role(simulation: &Simulation, bus: &Bus, rule: &str, target: &Value) -> Result<(), AwsError> {
    let arn = target["Arn"].as_str().unwrap_or_default();
    let Some(assumed) = target["RoleArn"].as_str() else {
        return if bus.needs_role_for(arn) {
            Err(AwsError::new("ValidationException", format!("RoleArn is required for target {arn}.")))
        } else {
            Ok(())
        };
    };
    let rule = rule_arn(&bus.account, &bus.name, rule);
    let own = assumed.starts_with(&format!("arn:aws:iam::{}:role/", bus.account));
    if own && simulation.accounts.trusts_rule(assumed, &rule, &bus.account) {
        return Ok(());
    }
    let message = format!("Provided role '{assumed}' cannot be assumed by principal 'events.amazonaws.com'.");
    Err(AwsError::new("ValidationException", message))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RemoveTargets {
    rule: String,
    event_bus_name: Option<String>,
    ids: Vec<String>,
}

pub fn remove_targets(simulation: &Simulation, caller: &AwsCaller, wanted: &RemoveTargets) -> Result<Value, AwsError> {
    simulation.change(|state| {
        let bus = state.buses.find_mut(caller, wanted.event_bus_name.as_deref())?;
        let rule = find_mut(bus, &wanted.rule)?;
        rule.targets.retain(|id, _| !wanted.ids.contains(id));
        Ok(json!({"FailedEntryCount": 0, "FailedEntries": []}))
    })
}

pub fn delete(simulation: &Simulation, caller: &AwsCaller, wanted: &ByName) -> Result<Value, AwsError> {
    simulation.change(|state| {
        let bus = state.buses.find_mut(caller, wanted.event_bus_name.as_deref())?;
        if bus.rules.get(&wanted.name).is_some_and(|rule| !rule.targets.is_empty()) {
            return Err(AwsError::new("ValidationException", "Rule can't be deleted since it has targets."));
        }
        // As in the real one, deleting a rule that does not exist succeeds.
        bus.rules.remove(&wanted.name);
        Ok(json!({}))
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListRules {
    event_bus_name: Option<String>,
    name_prefix: Option<String>,
    next_token: Option<String>,
}

pub fn list(simulation: &Simulation, caller: &AwsCaller, wanted: &ListRules) -> Result<Value, AwsError> {
    simulation.buses(|buses| {
        let bus = buses.find(caller, wanted.event_bus_name.as_deref())?;
        let prefix = wanted.name_prefix.as_deref().unwrap_or_default();
        let from = wanted.next_token.as_deref().map_or(Ok(0), str::parse::<usize>);
        let from = from.map_err(|_| AwsError::new("ValidationException", "NextToken is invalid."))?;
        let rules: Vec<&EventRule> = bus.rules.values().filter(|rule| rule.name.starts_with(prefix)).collect();
        let shown = rules.iter().skip(from).take(PAGE).map(|rule| described(bus, rule)).collect::<Vec<_>>();
        let mut answer = json!({"Rules": shown});
        if rules.len() > from + PAGE {
            answer["NextToken"] = json!((from + PAGE).to_string());
        }
        Ok(answer)
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
