//! Items of the connected account: credentials, rule, role of its target, repository, rollout, quota of rules.

use serde_json::Value;

use super::controller::unless_seen;
use super::looks::{Look, UserLooks};
use super::subject::Subject;
use crate::clients::aws::{BusDescription, EcrRepository, RuleDescription, RuleTarget};
use crate::clients::{ClientError, ErrorKind};
use crate::domain::bus_policy::MAX_RULES;
use crate::domain::event_route::EventRoute;
use crate::domain::lifecycle_policy::flaw;
use crate::domain::message::{Message, message};
use crate::domain::names::{RULE_TARGET_ID, SOURCE_TAG, push_event_pattern};
use crate::domain::preflight::{ItemKind, ItemPlace, PreflightItem};

/// Service that assumes the role of the rules.
const EVENTS: &str = "events.amazonaws.com";

fn resource(id: &str, name: &str, text: Message) -> PreflightItem {
    PreflightItem::new(id, ItemPlace::User, ItemKind::Resource, name, text)
}

pub(super) fn items(subject: &Subject<'_>, looks: &UserLooks, bus: Option<&BusDescription>) -> Vec<PreflightItem> {
    let mut items = vec![credentials(subject, looks)];
    let connection = subject.connection;
    // As long as the bus is unknown, a role that is configured is checked as if it were needed.
    let needs_role = bus.map(|bus| EventRoute::to(&bus.arn, &connection.account_id, &connection.region).needs_role());
    if needs_role.unwrap_or(subject.role.is_some()) {
        items.push(rule_role(subject, looks));
    }
    if let (Some(rule), Some(repository), Some(found), Some(targets)) =
        (&subject.rule, &subject.repository, &looks.rule, &looks.targets)
    {
        items.push(event_rule(rule, repository, found));
        items.push(target(subject, rule, targets, (bus, needs_role)));
    }
    items.push(rules_quota(subject, looks));
    items.extend(ecr_repository(subject, looks));
    items.extend(lifecycle_policy(subject, looks));
    items.extend(deployment_group(looks));
    items.extend(native_rollout(subject, looks));
    items
}

fn credentials(subject: &Subject<'_>, looks: &UserLooks) -> PreflightItem {
    let connection = subject.connection;
    let (id, account) = (&connection.id, &connection.account_id);
    let text = message!("preflight.credentials", account);
    let item = PreflightItem::new("credentials", ItemPlace::User, ItemKind::Credentials, id.as_str(), text);
    match &looks.identity {
        Ok(found) if found.account_id == *account => item,
        Ok(found) => {
            let reason = message!("preflight.other_account", found = &found.account_id, account);
            item.missing(reason, message!("preflight.renew", id))
        }
        // Needs no permission: a denial is about the credentials.
        Err(error) if matches!(error.kind, ErrorKind::Denied | ErrorKind::Credentials) => {
            let reason = message!("preflight.credentials_refused", error = error.to_string());
            item.missing(reason, message!("preflight.renew", id))
        }
        Err(error) => unless_seen(item, error),
    }
}

fn rule_role(subject: &Subject<'_>, looks: &UserLooks) -> PreflightItem {
    let id = &subject.connection.id;
    let text = message!("preflight.rule_role");
    let Some(role) = &subject.role else {
        return resource("ruleRole", "", text)
            .missing(message!("preflight.no_role"), message!("preflight.create_role", id));
    };
    let item = resource("ruleRole", role, text);
    match &looks.role {
        Some(Ok(Some(trust))) if trusts_events(trust) => item,
        Some(Ok(Some(_))) => {
            item.missing(message!("preflight.role_untrusting", service = EVENTS), message!("preflight.create_role", id))
        }
        Some(Ok(None)) => item.missing(message!("preflight.role_absent"), message!("preflight.create_role", id)),
        Some(Err(error)) => unless_seen(item, error),
        None => item,
    }
}

/// Reports whether a trust policy lets EventBridge assume the role. Conditions are not evaluated.
fn trusts_events(trust: &Value) -> bool {
    let one_or_all = |value: &Value| match value {
        Value::Array(all) => all.clone(),
        one => vec![one.clone()],
    };
    one_or_all(&trust["Statement"]).iter().any(|statement| {
        statement["Effect"] == "Allow" && one_or_all(&statement["Principal"]["Service"]).contains(&Value::from(EVENTS))
    })
}

fn event_rule(rule: &str, repository: &str, found: &Look<Option<RuleDescription>>) -> PreflightItem {
    let item = resource("eventRule", rule, message!("preflight.event_rule", repository));
    match found {
        Ok(Some(found)) if found.has_pattern(&push_event_pattern(repository)) => item,
        Ok(Some(_)) => item.created(message!("preflight.corrected_by_deployment")),
        Ok(None) => item.created(message!("preflight.by_deployment")),
        Err(error) => readable(item, error),
    }
}

fn target(
    subject: &Subject<'_>,
    rule: &str,
    targets: &Look<Vec<RuleTarget>>,
    (bus, needs_role): (Option<&BusDescription>, Option<bool>),
) -> PreflightItem {
    let item = resource("eventTarget", &format!("{rule}/{RULE_TARGET_ID}"), message!("preflight.event_target"));
    let targets = match targets {
        Ok(targets) => targets,
        Err(error) => return readable(item, error),
    };
    let Some(found) = targets.iter().find(|target| target.id == RULE_TARGET_ID) else {
        return item.created(message!("preflight.by_deployment"));
    };
    let Some(bus) = bus else { return item.unknown(message!("preflight.bus_unknown"), message!("preflight.retry")) };
    match correction(found, &bus.arn, (needs_role == Some(true), subject.role.as_deref())) {
        Some(reason) => item.created(reason),
        None => item,
    }
}

/// The reason for which a deployment puts the target again. EventBridge keeps targets from before it required roles.
fn correction(found: &RuleTarget, bus_arn: &str, (needs_role, role): (bool, Option<&str>)) -> Option<Message> {
    if found.arn == bus_arn && needs_role && found.role_arn.is_none() {
        return Some(message!("preflight.target_without_role"));
    }
    let differs = found.arn != bus_arn || found.role_arn.as_deref() != role;
    differs.then(|| message!("preflight.corrected_by_deployment"))
}

/// Deployments put the rule again where they may not read it.
fn readable(item: PreflightItem, error: &ClientError) -> PreflightItem {
    match error.kind {
        ErrorKind::Denied => unless_seen(item, error).optional(),
        _ => unless_seen(item, error),
    }
}

fn rules_quota(subject: &Subject<'_>, looks: &UserLooks) -> PreflightItem {
    let (account, region) = (&subject.connection.account_id, &subject.connection.region);
    let text = message!("preflight.rules_quota", account, region);
    let item = |name: &str| PreflightItem::new("eventRules", ItemPlace::User, ItemKind::Quota, name, text.clone());
    match &looks.rules {
        Ok(rules) => {
            let item = item(&format!("{} / {MAX_RULES}", rules.len()));
            let is_there = subject.rule.as_ref().is_some_and(|rule| rules.iter().any(|known| known.name == *rule));
            if rules.len() < MAX_RULES || is_there {
                return item;
            }
            // The quota may have been raised, which Panda cannot look up.
            item.missing(message!("preflight.rules_full", quota = MAX_RULES), message!("preflight.delete_rules"))
        }
        // Counted only to warn.
        Err(error) => unless_seen(item("?"), error).optional(),
    }
}

fn ecr_repository(subject: &Subject<'_>, looks: &UserLooks) -> Option<PreflightItem> {
    let (source, found) = (subject.source?, looks.repository.as_ref()?);
    let name = subject.repository.as_deref()?;
    let item = resource("ecrRepository", name, message!("preflight.ecr_repository"));
    let source = format!("{}/{}", source.owner, source.repo).to_lowercase();
    let owner = |found: &EcrRepository| found.tags.as_ref().and_then(|tags| tags.get(SOURCE_TAG)).cloned();
    Some(match found {
        Ok(Some(found)) => match owner(found).filter(|owner| *owner != source) {
            Some(owner) => {
                let reason = message!("preflight.repository_taken", owner, source);
                item.missing(reason, message!("preflight.other_repository"))
            }
            None => item,
        },
        Ok(None) => item.created(message!("preflight.by_deployment")),
        Err(error) => unless_seen(item, error),
    })
}

/// A policy that deletes images which rollbacks need. Without a policy, ECR deletes nothing, and there is nothing to list.
fn lifecycle_policy(subject: &Subject<'_>, looks: &UserLooks) -> Option<PreflightItem> {
    let name = subject.repository.as_deref()?;
    let item = resource("ecrLifecycle", name, message!("preflight.lifecycle")).optional();
    match looks.lifecycle.as_ref()? {
        Ok(None) => None,
        Ok(Some(policy)) => Some(match flaw(policy, subject.cx.settings.keep_releases) {
            Some(reason) => item.missing(reason, message!("preflight.lifecycle_remedy")),
            None => item,
        }),
        Err(error) => Some(unless_seen(item, error)),
    }
}

/// Application and group of the newest rollout; none before the first.
fn deployment_group(looks: &UserLooks) -> Option<PreflightItem> {
    let Ok(Some((application, group))) = looks.rollout.as_ref()? else { return None };
    let item = resource("deploymentGroup", &format!("{application}/{group}"), message!("preflight.deployment_group"));
    Some(match looks.group.as_ref()? {
        Ok(Some(found)) if found.waits_for_switch => item,
        Ok(Some(_)) => item.missing(message!("preflight.group_continues"), message!("preflight.group_remedy")),
        Ok(None) => item.missing(message!("preflight.group_absent"), message!("preflight.group_remedy")),
        Err(error) => unless_seen(item, error),
    })
}

/// The newest rollout of ECS: whether its service waits for an approval, and which rules and target groups it has. One that is gone says nothing.
fn native_rollout(subject: &Subject<'_>, looks: &UserLooks) -> Option<PreflightItem> {
    let (arn, native) = (subject.native?, looks.native.as_ref()?);
    let item = resource("serviceDeployment", arn, message!("preflight.service_deployment"));
    let deployment = match &native.deployment {
        Ok(found) => found,
        Err(error) if error.kind == ErrorKind::NotFound => return None,
        Err(error) => return Some(unless_seen(item, error)),
    };
    if !deployment.waits_for_approval {
        return Some(item.missing(message!("preflight.service_continues"), message!("preflight.service_remedy")));
    }
    let balancers = match &native.revision {
        Some(Ok(revisions)) => revisions.iter().flat_map(|revision| &revision.balancers).collect::<Vec<_>>(),
        Some(Err(error)) => return Some(unless_seen(item, error)),
        None => Vec::new(),
    };
    let unknown = balancers.iter().any(|balancer| balancer.production_rule.is_none() || balancer.groups.len() != 2);
    Some(if unknown {
        item.missing(message!("preflight.service_groups"), message!("preflight.service_remedy")).optional()
    } else {
        item
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn target_without_role_is_put_again() {
        let target = |role: Option<&str>| RuleTarget {
            id: RULE_TARGET_ID.to_owned(),
            arn: "arn:bus".to_owned(),
            role_arn: role.map(str::to_owned),
        };
        let of = |target: &RuleTarget, needs_role, role| {
            correction(target, "arn:bus", (needs_role, role)).map(|reason| reason.to_string())
        };
        assert_eq!(of(&target(Some("arn:role")), true, Some("arn:role")), None);
        assert_eq!(of(&target(None), false, None), None);
        assert!(of(&target(None), true, Some("arn:role")).unwrap().contains("no role"));
        assert!(of(&target(None), true, None).unwrap().contains("no role"));
        assert!(of(&target(Some("arn:other")), true, Some("arn:role")).unwrap().contains("differs"));
        let elsewhere = RuleTarget { arn: "arn:other-bus".to_owned(), ..target(Some("arn:role")) };
        assert!(of(&elsewhere, true, Some("arn:role")).unwrap().contains("differs"));
    }

    #[test]
    fn trust_in_eventbridge_is_found_in_any_form() {
        let policy = |statement: Value| json!({"Version": "2012-10-17", "Statement": statement});
        let allow =
            |service: Value| json!({"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"});
        assert!(trusts_events(&policy(allow(json!(EVENTS)))));
        assert!(trusts_events(&policy(json!([allow(json!(["ec2.amazonaws.com", EVENTS]))]))));
        assert!(!trusts_events(&policy(json!([allow(json!("ecs.amazonaws.com"))]))));
        assert!(!trusts_events(&policy(json!({"Effect": "Deny", "Principal": {"Service": EVENTS}}))));
        assert!(!trusts_events(&json!({})));
    }
}
