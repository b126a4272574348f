//! Step 2: the permission on the controller's event bus for the user's account.
//!
//! Parallel PutPermission calls lose each other's statement, so this runs under a lease, and the policy is read back.
//!
//! AWS may refuse a rule's target for as long as its bus does not permit the account. Then step 1 comes here first, quietly, and goes
//! on where it was: users see the steps in their agreed order either way.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Context, EnsureEventRule, FetchSource, Outcome, PushImage, Run, Step, StepError};
use crate::domain::catalogue::EventCode;
use crate::domain::event::Event;
use crate::domain::failure::ErrorCode;
use crate::domain::names::permission_statement;
use crate::domain::source::Source;

/// See the module.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct GrantEventBus {
    /// Whether step 1 waits for the permission.
    #[serde(default)]
    pub rule_pending: bool,
}

impl Run for GrantEventBus {
    const NAME: &'static str = "grant_event_bus";
    const STAGE: u8 = 2;
    const LOCK: Option<&'static str> = Some("panda:event-bus-policy");
    const TIMED_OUT: ErrorCode = ErrorCode::EventBusPermissionFailed;

    async fn run(&self, cx: &Context<'_>) -> Result<Outcome, StepError> {
        let failed = StepError::from_client(ErrorCode::EventBusPermissionFailed);
        let bus = &cx.services.aws.controller().bus;
        let (name, account) = (&cx.services.settings.event_bus, &cx.deployment.account_id);
        let statement = permission_statement(account);
        if !self.rule_pending {
            cx.reporter.tell(Event::new(EventCode::EventBusPermissionRequested)).await;
        }
        let before = bus.describe(name).await.map_err(&failed)?;
        if !allows(before.policy.as_ref(), &statement) {
            bus.allow_account(name, &statement, account).await.map_err(&failed)?;
            let after = bus.describe(name).await.map_err(&failed)?;
            if !allows(after.policy.as_ref(), &statement) {
                return Err(StepError::retryable(
                    ErrorCode::EventBusPermissionFailed,
                    format!("the policy of event bus {name} does not show statement {statement} yet"),
                ));
            }
        }
        if self.rule_pending {
            return Ok(Outcome::next(EnsureEventRule { denials: 1 }));
        }
        Ok(Outcome::next(begin(cx)).telling(Event::new(EventCode::EventBusPermissionGranted)))
    }
}

/// The first step of what differs between deployments: the source is fetched, or the image that is there is published.
pub(super) fn begin(cx: &Context<'_>) -> Step {
    match &cx.deployment.requested.source {
        Source::Revision(_) => FetchSource {}.into(),
        Source::Image(digest) => PushImage { publish: Some(digest.clone()), ..PushImage::default() }.into(),
    }
}

/// Whether the bus policy has our statement. Its id names the account, and nobody else makes such ids.
pub(super) fn allows(policy: Option<&Value>, statement_id: &str) -> bool {
    let statements = match policy.and_then(|policy| policy.get("Statement")) {
        Some(Value::Array(statements)) => statements.as_slice(),
        Some(one) => std::slice::from_ref(one),
        None => &[],
    };
    statements.iter().any(|statement| {
        statement.get("Sid").and_then(Value::as_str) == Some(statement_id)
            && statement.get("Effect").and_then(Value::as_str) == Some("Allow")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_our_own_allowing_statement_counts() {
        let policy = json!({"Statement": [{"Sid": "other", "Effect": "Allow"}, {"Sid": "panda-1", "Effect": "Allow"}]});
        assert!(allows(Some(&policy), "panda-1"));
        assert!(!allows(Some(&policy), "panda-2"));
        assert!(allows(Some(&json!({"Statement": {"Sid": "panda-1", "Effect": "Allow"}})), "panda-1"));
        assert!(!allows(Some(&json!({"Statement": [{"Sid": "panda-1", "Effect": "Deny"}]})), "panda-1"));
        assert!(!allows(None, "panda-1"));
    }
}
