//! Step 2: permits the user's account to put events on the controller's event bus.
//!
//! Parallel PutPermission calls lose each other's statement, so this step runs under a lease and reads the policy back.
//!
//! AWS may deny a rule's target until its bus permits the account. Then step 1 runs this step first, without events, and resumes afterwards: users
//! see the steps in their usual order either way.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{EnsureEventRule, FetchSource, PushImage, RunStep, Step, StepContext, StepError, StepOutcome};
use crate::domain::catalogue::EventCode;
use crate::domain::event::Event;
use crate::domain::failure::ErrorCode;
use crate::domain::names::permission_statement;
use crate::domain::source::Source;

/// State of the permission step.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct GrantEventBus {
    /// Set when step 1 waits for the permission.
    #[serde(default)]
    pub rule_pending: bool,
}

impl RunStep for GrantEventBus {
    const NAME: &'static str = "grant_event_bus";
    const STAGE: u8 = 2;
    const REPORTED: (&'static str, Option<&'static str>) = ("Step 2", None);
    const LOCK: Option<&'static str> = Some("panda:event-bus-policy");
    const TIMED_OUT: ErrorCode = ErrorCode::EventBusPermissionFailed;

    async fn run(&self, cx: &StepContext<'_>) -> Result<StepOutcome, StepError> {
        let failed = StepError::from_client(ErrorCode::EventBusPermissionFailed);
        let bus = &cx.services.aws.controller().bus;
        let (name, account) = (&cx.services.settings.event_bus, &cx.deployment.account_id);
        let statement = permission_statement(account);
        if !self.rule_pending {
            cx.reporter.emit(Event::new(EventCode::EventBusPermissionRequested)).await;
        }
        let before = bus.describe(name).await.map_err(&failed)?;
        if !allows(before.policy.as_ref(), &statement) {
            bus.allow_account(name, &statement, account).await.map_err(&failed)?;
            let after = bus.describe(name).await.map_err(&failed)?;
            if !allows(after.policy.as_ref(), &statement) {
                return Err(StepError::retryable(
                    ErrorCode::EventBusPermissionFailed,
                    format!("the policy of event bus {name} does not contain statement {statement} yet"),
                ));
            }
        }
        if self.rule_pending {
            return Ok(StepOutcome::next(EnsureEventRule { denials: 1 }));
        }
        Ok(StepOutcome::next(first_source_step(cx)).with_event(Event::new(EventCode::EventBusPermissionGranted)))
    }
}

/// Returns the first step that depends on the kind of deployment: fetching the source, or publishing the existing image.
pub(super) fn first_source_step(cx: &StepContext<'_>) -> Step {
    match &cx.deployment.requested.source {
        Source::Revision(_) => FetchSource {}.into(),
        Source::Image(digest) => PushImage { publish: Some(digest.clone()), ..PushImage::default() }.into(),
    }
}

/// Reports whether the bus policy contains Panda's statement. Its id names the account, and no other program creates such ids.
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
    fn recognises_own_allow_statement() {
        let policy = json!({"Statement": [{"Sid": "other", "Effect": "Allow"}, {"Sid": "panda-1", "Effect": "Allow"}]});
        assert!(allows(Some(&policy), "panda-1"));
        assert!(!allows(Some(&policy), "panda-2"));
        assert!(allows(Some(&json!({"Statement": {"Sid": "panda-1", "Effect": "Allow"}})), "panda-1"));
        assert!(!allows(Some(&json!({"Statement": [{"Sid": "panda-1", "Effect": "Deny"}]})), "panda-1"));
        assert!(!allows(None, "panda-1"));
    }
}
