//! Items of the controller's account: credentials, event bus and its policy, the pipeline, the secret of the latest execution.

use std::collections::BTreeSet;

use serde_json::Value;

use super::looks::{ControllerLooks, Look, machine_of};
use super::subject::Subject;
use crate::clients::aws::{BusDescription, StateMachine};
use crate::clients::{ClientError, ErrorKind};
use crate::domain::bus_policy::{
    BusPolicy, Granted, MAX_POLICY_BYTES, account_statement, granted, organization_statement,
};
use crate::domain::event_route::EventRoute;
use crate::domain::message::{Message, message};
use crate::domain::preflight::{ItemKind, ItemPlace, PreflightItem};

fn item(id: &str, kind: ItemKind, name: &str, text: Message) -> PreflightItem {
    PreflightItem::new(id, ItemPlace::Controller, kind, name, text)
}

/// The item as unknown for what AWS answered; a denial names the permission.
pub(super) fn unless_seen(item: PreflightItem, error: &ClientError) -> PreflightItem {
    let text = error.to_string();
    match error.kind {
        ErrorKind::Denied => {
            let item = item.unknown(message!("preflight.denied", error = text), message!("preflight.retry"));
            if error.call.contains(':') { item.lacking(error.call) } else { item }
        }
        ErrorKind::Credentials => {
            item.unknown(message!("preflight.credentials_refused", error = text), message!("preflight.renew_first"))
        }
        _ => item.unknown(message!("preflight.unanswered", error = text), message!("preflight.retry")),
    }
}

pub(super) fn items(subject: &Subject<'_>, looks: &ControllerLooks) -> Vec<PreflightItem> {
    let settings = subject.cx.settings;
    let mut items = vec![credentials(subject, looks), event_bus(&settings.event_bus, &looks.bus)];
    if let Ok(bus) = &looks.bus {
        items.extend(bus_policy(subject, bus));
    }
    items.push(pipeline(subject, looks));
    if let (Some(name), Some(secret)) = (&subject.secret, &looks.secret) {
        let item = item("latestExecution", ItemKind::Resource, name, message!("preflight.secret"));
        items.push(match secret {
            Ok(Some(_)) => item,
            Ok(None) => item.created(message!("preflight.by_pipeline")),
            Err(error) => unless_seen(item, error),
        });
    }
    items
}

fn credentials(subject: &Subject<'_>, looks: &ControllerLooks) -> PreflightItem {
    let region = subject.cx.aws.controller_region().unwrap_or_default();
    let item = |name: &str| {
        item("controllerCredentials", ItemKind::Credentials, name, message!("preflight.controller", region))
    };
    match &looks.identity {
        Ok(identity) => item(&identity.arn),
        Err(error) if matches!(error.kind, ErrorKind::Denied | ErrorKind::Credentials) => {
            let reason = message!("preflight.credentials_refused", error = error.to_string());
            item("").missing(reason, message!("preflight.controller_remedy"))
        }
        Err(error) => unless_seen(item(""), error),
    }
}

fn event_bus(name: &str, found: &Look<BusDescription>) -> PreflightItem {
    let item = |name: &str| item("eventBus", ItemKind::Resource, name, message!("preflight.event_bus"));
    match found {
        Ok(bus) => item(&bus.arn),
        Err(error) if error.kind == ErrorKind::NotFound => {
            item(name).missing(message!("preflight.bus_absent", name), message!("preflight.bus_remedy"))
        }
        Err(error) => unless_seen(item(name), error),
    }
}

/// The statement for the account, and its room; nothing for a bus of the same account.
fn bus_policy(subject: &Subject<'_>, bus: &BusDescription) -> Vec<PreflightItem> {
    let (settings, account) = (subject.cx.settings, &subject.connection.account_id);
    if !EventRoute::to(&bus.arn, account, &subject.connection.region).needs_statement() {
        return Vec::new();
    }
    let organization = settings.bus_organization.as_deref();
    let statement = match (settings.bus_policy, organization) {
        (BusPolicy::Organization, Some(organization)) => organization_statement(&bus.arn, organization),
        _ => account_statement(&bus.arn, account),
    };
    let name = statement["Sid"].as_str().unwrap_or_default();
    let permitted = granted(bus.policy.as_ref(), &bus.arn, account, organization);
    let needed = if permitted == Granted::Yes { 0 } else { statement.to_string().len() + 1 };
    let full = bus.policy_bytes + needed > MAX_POLICY_BYTES;
    let written = settings.bus_policy != BusPolicy::Managed;
    let item = item("busPolicy", ItemKind::Resource, name, message!("preflight.bus_policy", account));
    let item = match permitted {
        Granted::Yes => item,
        Granted::Denied(statement) => item.missing(
            message!("preflight.bus_denies", statement = &statement, account),
            message!("preflight.remove_statement", statement),
        ),
        Granted::Conditionally if !written => item
            .optional()
            .unknown(message!("preflight.bus_condition"), message!("preflight.bus_condition_remedy", account)),
        Granted::Conditionally | Granted::No if full && written => {
            item.missing(message!("preflight.policy_no_room"), message!("preflight.policy_remedy"))
        }
        Granted::Conditionally | Granted::No if written => item.created(message!("preflight.by_deployment")),
        Granted::Conditionally | Granted::No => {
            let remedy = message!("preflight.add_statement", statement = statement.to_string());
            item.missing(message!("preflight.bus_managed"), remedy)
        }
    };
    vec![item, policy_quota(bus.policy_bytes, full && written)]
}

fn policy_quota(bytes: usize, full: bool) -> PreflightItem {
    let name = format!("{bytes} / {MAX_POLICY_BYTES}");
    let item = item("busPolicyBytes", ItemKind::Quota, &name, message!("preflight.policy_quota"));
    if full { item.missing(message!("preflight.policy_no_room"), message!("preflight.policy_remedy")) } else { item }
}

/// The state machine that a rule of the bus starts. A pipeline may begin with something else, and reading it needs permissions that deployments do not.
fn pipeline(subject: &Subject<'_>, looks: &ControllerLooks) -> PreflightItem {
    let bus = &subject.cx.settings.event_bus;
    let item = |name: &str| item("stateMachine", ItemKind::Resource, name, message!("preflight.state_machine"));
    let targets = match &looks.targets {
        Ok(targets) if targets.is_empty() => {
            return item(bus).missing(message!("preflight.no_pipeline", bus), message!("preflight.pipeline_remedy"));
        }
        Ok(targets) => targets,
        // The bus itself is reported.
        Err(error) => return unless_seen(item(bus), error),
    };
    let (Some(arn), Some(machine)) = (machine_of(targets), &looks.machine) else {
        let reason = message!("preflight.other_target", target = targets.first().map_or("", String::as_str));
        return item(bus).unknown(reason, message!("preflight.pipeline_remedy")).optional();
    };
    match machine {
        Ok(Some(machine)) => {
            let absent = absent_states(subject, machine);
            if !machine.active {
                item(arn).missing(message!("preflight.machine_deleted"), message!("preflight.pipeline_remedy"))
            } else if absent.is_empty() {
                item(arn)
            } else {
                let reason = message!("preflight.states_absent", states = absent.join(", "));
                item(arn).missing(reason, message!("preflight.states_remedy"))
            }
        }
        Ok(None) => item(arn).missing(message!("preflight.machine_absent"), message!("preflight.pipeline_remedy")),
        Err(error) => unless_seen(item(arn), error),
    }
}

/// The states of the contract that the definition lacks, at any depth. A definition that is withheld has all.
fn absent_states(subject: &Subject<'_>, machine: &StateMachine) -> Vec<String> {
    let Ok(definition) = serde_json::from_str::<Value>(&machine.definition) else { return Vec::new() };
    let mut states = BTreeSet::new();
    collect_states(&definition, &mut states);
    let names = subject.cx.names;
    let wanted = [&names.ensure_infra_state, &names.register_state, &names.check_state];
    wanted.into_iter().filter(|name| !states.contains(name.as_str())).cloned().collect()
}

fn collect_states<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                if let ("States", Value::Object(states)) = (name.as_str(), member) {
                    found.extend(states.keys().map(String::as_str));
                }
                collect_states(member, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect_states(item, found)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn states_of_branches_are_found() {
        let definition = json!({"StartAt": "A", "States": {
            "A": {"Type": "Parallel", "Branches": [{"StartAt": "B", "States": {"B": {"Type": "Pass"}}}]},
            "C": {"Type": "Map", "ItemProcessor": {"States": {"D": {}}}},
        }});
        let mut found = BTreeSet::new();
        collect_states(&definition, &mut found);
        assert_eq!(found, BTreeSet::from(["A", "B", "C", "D"]));
    }
}
