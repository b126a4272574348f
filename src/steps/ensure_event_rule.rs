//! Step 1: creates the rule in the user's account that sends pushes of this repository to the controller's event bus.
//!
//! PutRule and PutTargets are upserts. Each is called only where what is there differs, because a changed rule takes effect only after a while, which
//! the push would overtake. Rule and target are checked separately: a crash between the calls must not leave a rule without its target.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::grant_event_bus::allows;
use super::{GrantEventBus, RunStep, StepContext, StepError, StepOutcome};
use crate::clients::aws::{RuleDescription, RuleTarget};
use crate::clients::{ClientError, ErrorKind};
use crate::domain::catalogue::EventCode;
use crate::domain::event::Event;
use crate::domain::failure::ErrorCode;
use crate::domain::names::{RULE_TARGET_ID, permission_statement, push_event_pattern};
use crate::domain::text;

/// State of the rule step.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct EnsureEventRule {
    /// Number of times the target was denied although the bus permits the account.
    #[serde(default)]
    pub denials: u8,
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
        let failed = StepError::from_client(ErrorCode::EventRuleFailed);
        let settings = &cx.services.settings;
        let deployment = cx.deployment;
        let bus = cx.services.aws.controller().bus.describe(&settings.event_bus).await.map_err(&failed)?;
        let rule = cx.services.names.rule(&deployment.owner, &deployment.repo);
        let description = format!("Panda: image pushes of {}/{}", deployment.owner, deployment.repo);
        let pattern = push_event_pattern(&deployment.ecr_repository);
        if !rule_in_place(cx, &rule, &pattern).await.map_err(&failed)? {
            cx.user.rules.put_rule(&rule, &pattern, &description).await.map_err(&failed)?;
        }
        let assumed = settings.rule_target_role_arn.as_deref();
        let target = if target_in_place(cx, &rule, &bus.arn, assumed).await.map_err(&failed)? {
            Ok(())
        } else {
            cx.user.rules.put_target(&rule, RULE_TARGET_ID, &bus.arn, assumed).await
        };
        match target {
            Ok(()) => {
                let next = GrantEventBus { rule_pending: false };
                Ok(StepOutcome::next(next).with_event(Event::new(EventCode::EventRuleCreated)))
            }
            Err(error) if error.kind == ErrorKind::Denied && self.denials < MAX_DENIALS => {
                let permitted = allows(bus.policy.as_ref(), &permission_statement(&deployment.account_id));
                Ok(if permitted || self.denials > 0 {
                    let why = text::reason(&error.to_string());
                    StepOutcome::wait(Self { denials: self.denials + 1 }, DENIAL_RETRY_DELAY, why)
                } else {
                    StepOutcome::next(GrantEventBus { rule_pending: true })
                })
            }
            Err(error) => Err(failed(error)),
        }
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
    let parsed = |text: &str| serde_json::from_str::<Value>(text).ok();
    rule.enabled && rule.event_pattern.as_deref().and_then(parsed).is_some_and(|found| parsed(pattern) == Some(found))
}

fn leads_to(target: &RuleTarget, bus_arn: &str, role_arn: Option<&str>) -> bool {
    target.id == RULE_TARGET_ID && target.arn == bus_arn && target.role_arn.as_deref() == role_arn
}

#[cfg(test)]
mod tests {
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
