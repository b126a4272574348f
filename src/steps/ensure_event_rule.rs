//! Step 1: creates the rule in the user's account that sends pushes of this repository to the controller's event bus.
//!
//! PutRule and PutTargets are upserts. Each is called only where what is there differs, because a changed rule takes effect only after a while, which
//! the push would overtake. Rule and target are checked separately: a crash between the calls must not leave a rule without its target.

use std::time::Duration;

use super::gate_reading::blocked;
use super::grant_event_bus::{is_nearly_full, is_permitted};
use super::{GrantEventBus, PushImage, RunStep, StepContext, StepError, StepOutcome};
use crate::clients::aws::{RuleDescription, RuleTarget};
use crate::clients::{ClientError, ErrorKind};
use crate::domain::bus_policy::MAX_RULES;
use crate::domain::catalogue::EventCode;
use crate::domain::event::Event;
use crate::domain::event_route::{EventRoute, default_target_role};
use crate::domain::failure::ErrorCode;
use crate::domain::message::message;
use crate::domain::names::{Names, RULE_TARGET_ID, push_event_pattern};
use crate::domain::text;
use serde::{Deserialize, Serialize};

/// State of the rule step.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct EnsureEventRule {
    /// Number of times the target was denied although the bus permits the account.
    #[serde(default)]
    pub denials: u8,
    /// Push of an earlier attempt's image that follows, in place of the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push: Option<Box<PushImage>>,
}

/// Denials after which waiting is pointless: a new permission needs a moment to take effect everywhere.
const MAX_DENIALS: u8 = 5;

/// Time between two attempts after a denial.
const DENIAL_RETRY_DELAY: Duration = Duration::from_secs(1);

impl RunStep for EnsureEventRule {
    const NAME: &'static str = "ensure_event_rule";
    const STAGE: u8 = 1;
    const REPORTED: (&'static str, Option<&'static str>) = ("Step 1", None);
    const TIMED_OUT: ErrorCode = ErrorCode::EventRuleFailed;

    async fn run(&self, cx: &StepContext<'_>) -> Result<StepOutcome, StepError> {
        if let Some(ended) = blocked(cx).await? {
            return Ok(ended);
        }
        let failed = StepError::from_client(ErrorCode::EventRuleFailed);
        let (settings, deployment) = (&cx.services.settings, cx.deployment);
        let bus = cx.services.aws.controller().bus.describe(&settings.event_bus).await.map_err(&failed)?;
        let rule = cx.services.names.rule(&deployment.owner, &deployment.repo);
        let pattern = push_event_pattern(&deployment.ecr_repository);
        if !rule_in_place(cx, &rule, &pattern).await.map_err(&failed)? {
            put_rule(cx, &rule, &pattern).await.map_err(&failed)?;
        }
        let assumed = target_role(cx);
        let target = if target_in_place(cx, &rule, &bus.arn, assumed.as_deref()).await.map_err(&failed)? {
            Ok(())
        } else {
            cx.user.rules.put_target(&rule, RULE_TARGET_ID, &bus.arn, assumed.as_deref()).await
        };
        let Err(error) = target else {
            let next = GrantEventBus { rule_pending: false, push: self.push.clone() };
            return Ok(StepOutcome::next(next).with_event(Event::new(EventCode::EventRuleCreated)));
        };
        match error.kind {
            ErrorKind::Denied if self.denials < MAX_DENIALS => {
                let permitted = is_permitted(cx, &bus);
                Ok(if permitted || self.denials > 0 {
                    self.again(&error)
                } else {
                    StepOutcome::next(GrantEventBus { rule_pending: true, push: self.push.clone() })
                })
            }
            // A role that was created a moment ago is not known everywhere yet.
            ErrorKind::Invalid if assumed.is_some() && self.denials < MAX_DENIALS => Ok(self.again(&error)),
            _ => Err(failed(with_remedy(cx, error, &bus.arn, assumed.as_deref()))),
        }
    }
}

impl EnsureEventRule {
    fn again(&self, error: &ClientError) -> StepOutcome {
        let why = text::reason(&error.to_string());
        StepOutcome::wait(Self { denials: self.denials + 1, push: self.push.clone() }, DENIAL_RETRY_DELAY, why)
    }
}

/// Reports whether pushes of the repository reach the event bus. A further attempt of a deployment begins with this step where they do not: rule or
/// permission may have been removed since.
pub(super) async fn pushes_reach_bus(cx: &StepContext<'_>) -> Result<bool, StepError> {
    let failed = StepError::from_client(ErrorCode::EventRuleFailed);
    let deployment = cx.deployment;
    let bus = cx.services.aws.controller().bus.describe(&cx.services.settings.event_bus).await.map_err(&failed)?;
    let route = EventRoute::to(&bus.arn, &deployment.account_id, &deployment.region);
    let rule = cx.services.names.rule(&deployment.owner, &deployment.repo);
    let pattern = push_event_pattern(&deployment.ecr_repository);
    Ok((!route.needs_statement() || is_permitted(cx, &bus))
        && rule_in_place(cx, &rule, &pattern).await.map_err(&failed)?
        && target_in_place(cx, &rule, &bus.arn, target_role(cx).as_deref()).await.map_err(&failed)?)
}

/// Returns the role that EventBridge assumes for the target: the connection's, or the server's if it belongs to this account.
fn target_role(cx: &StepContext<'_>) -> Option<String> {
    let default = cx.services.settings.rule_target_role_arn.as_deref();
    cx.aws.rule_target_role_arn.clone().or_else(|| default_target_role(default, &cx.deployment.account_id))
}

/// Puts the rule. Counts the account's rules first, to warn before the quota is reached; that needs a permission which the rule does not.
async fn put_rule(cx: &StepContext<'_>, rule: &str, pattern: &str) -> Result<(), ClientError> {
    let deployment = cx.deployment;
    let (account, region) = (&deployment.account_id, &deployment.region);
    match cx.user.rules.list(account, region).await {
        Ok(rules) if is_nearly_full(rules.len(), MAX_RULES) => {
            tracing::warn!(
                account,
                region,
                rules = rules.len(),
                quota = MAX_RULES,
                "event rules of the account near their quota"
            );
        }
        Ok(_) => {}
        Err(error) => tracing::debug!(%error, account, region, "event rules not counted"),
    }
    let description = Names::rule_description(&deployment.owner, &deployment.repo);
    let put = cx.user.rules.put_rule(rule, pattern, &description).await;
    put.map_err(|error| match error.kind {
        ErrorKind::LimitExceeded => error.with_remedy(message!("reason.rules_full", account, region, max = MAX_RULES)),
        _ => error,
    })
}

/// Adds the remedy where a role is missing, or the given one does not work.
fn with_remedy(cx: &StepContext<'_>, error: ClientError, bus_arn: &str, role: Option<&str>) -> ClientError {
    let (account, region, id) = (&cx.deployment.account_id, &cx.deployment.region, &cx.aws.id);
    let route = EventRoute::to(bus_arn, account, region);
    match (error.kind, role) {
        (ErrorKind::Invalid, None) if route.needs_role() => {
            let elsewhere = if route.needs_statement() {
                message!("reason.bus_in_another_account", bus = bus_arn)
            } else {
                message!("reason.bus_in_another_region", bus = bus_arn)
            };
            error.with_remedy(message!("reason.rule_needs_role", elsewhere, account, id))
        }
        (ErrorKind::Invalid, Some(role)) => error.with_remedy(message!("reason.rule_role_unfit", role, account)),
        _ => error,
    }
}

/// Reports whether the rule is there, enabled, with this pattern.
async fn rule_in_place(cx: &StepContext<'_>, rule: &str, pattern: &str) -> Result<bool, ClientError> {
    let found = cx.user.rules.describe_rule(rule).await;
    unless_refused(found.map(|found| found.is_some_and(|found| fits(&found, pattern))))
}

/// Reports whether the rule has this target.
async fn target_in_place(
    cx: &StepContext<'_>,
    rule: &str,
    bus_arn: &str,
    role_arn: Option<&str>,
) -> Result<bool, ClientError> {
    let targets = cx.user.rules.targets(rule).await;
    unless_refused(targets.map(|targets| targets.iter().any(|target| leads_to(target, bus_arn, role_arn))))
}

/// Reading needs permissions that a deployment does not: without them the rule is put again.
fn unless_refused(in_place: Result<bool, ClientError>) -> Result<bool, ClientError> {
    in_place.or_else(|error| match error.kind {
        ErrorKind::Throttled | ErrorKind::Unavailable | ErrorKind::Credentials => Err(error),
        _ => {
            tracing::debug!(kind = ?error.kind, call = error.call, "event rule not readable, putting it again");
            Ok(false)
        }
    })
}

/// Reports whether the rule is enabled and has this pattern; formatting of the JSON text does not count.
pub(super) fn fits(rule: &RuleDescription, pattern: &str) -> bool {
    rule.has_pattern(pattern)
}

fn leads_to(target: &RuleTarget, bus_arn: &str, role_arn: Option<&str>) -> bool {
    target.id == RULE_TARGET_ID && target.arn == bus_arn && target.role_arn.as_deref() == role_arn
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::domain::names::push_event_pattern;

    #[test]
    fn only_an_enabled_rule_with_this_pattern_fits() {
        let pattern = push_event_pattern("acme-shop");
        let rule = |event_pattern: Option<String>, enabled| RuleDescription { event_pattern, enabled };
        let spaced = format!("{:#}", serde_json::from_str::<Value>(&pattern).unwrap());
        assert!(fits(&rule(Some(pattern.clone()), true), &pattern) && fits(&rule(Some(spaced), true), &pattern));
        assert!(!fits(&rule(Some(pattern.clone()), false), &pattern));
        assert!(!fits(&rule(Some(push_event_pattern("acme-other")), true), &pattern));
        assert!(!fits(&rule(Some("{".to_owned()), true), &pattern) && !fits(&rule(None, true), &pattern));
    }

    #[test]
    fn target_needs_bus_and_role() {
        let target = RuleTarget { id: RULE_TARGET_ID.into(), arn: "arn:bus".into(), role_arn: Some("arn:role".into()) };
        assert!(leads_to(&target, "arn:bus", Some("arn:role")));
        assert!(!leads_to(&target, "arn:bus", None) && !leads_to(&target, "arn:other", Some("arn:role")));
        assert!(!leads_to(&RuleTarget { id: "theirs".into(), ..target }, "arn:bus", Some("arn:role")));
    }
}
