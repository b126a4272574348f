//! Step 2: permits the user's account to put events on the controller's event bus.
//!
//! A bus of the same account needs no permission; a policy that others manage is only read. Otherwise the statement is for the account, or for its
//! organization (`domain::bus_policy`).
//!
//! Parallel PutPermission calls lose each other's statement, so this step runs under a lease and reads the policy back.
//!
//! AWS may deny a rule's target until its bus permits the account. Then step 1 runs this step first, without events, and resumes afterwards: users
//! see the steps in their usual order either way.

use serde::{Deserialize, Serialize};

use super::{EnsureEventRule, FetchSource, PushImage, RunStep, Step, StepContext, StepError, StepOutcome};
use crate::clients::aws::BusDescription;
use crate::clients::{ClientError, ErrorKind};
use crate::domain::bus_policy::{
    BusPolicy, Granted, MAX_POLICY_BYTES, ORGANIZATION_STATEMENT, account_statement, granted,
};
use crate::domain::catalogue::EventCode;
use crate::domain::event::Event;
use crate::domain::event_route::EventRoute;
use crate::domain::failure::ErrorCode;
use crate::domain::message::{Message, message};
use crate::domain::names::permission_statement;
use crate::domain::source::Source;

/// Lease around changes of the bus policy.
pub const BUS_POLICY_LOCK: &str = "panda:event-bus-policy";

/// State of the permission step.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct GrantEventBus {
    /// Set when step 1 waits for the permission.
    #[serde(default)]
    pub rule_pending: bool,
    /// Push of an earlier attempt's image that follows, in place of the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push: Option<Box<PushImage>>,
}

impl RunStep for GrantEventBus {
    const NAME: &'static str = "grant_event_bus";
    const STAGE: u8 = 2;
    const REPORTED: (&'static str, Option<&'static str>) = ("Step 2", None);
    const LOCK: Option<&'static str> = Some(BUS_POLICY_LOCK);
    const TIMED_OUT: ErrorCode = ErrorCode::EventBusPermissionFailed;

    async fn run(&self, cx: &StepContext<'_>) -> Result<StepOutcome, StepError> {
        if !self.rule_pending {
            cx.reporter.emit(Event::new(EventCode::EventBusPermissionRequested)).await;
        }
        permit(cx, self.rule_pending).await?;
        if self.rule_pending {
            return Ok(StepOutcome::next(EnsureEventRule { denials: 1, push: self.push.clone() }));
        }
        let next = self.push.clone().map_or_else(|| first_source_step(cx), |push| (*push).into());
        Ok(StepOutcome::next(next).with_event(Event::new(EventCode::EventBusPermissionGranted)))
    }
}

/// Ensures that the bus policy permits the account. `required` is set when AWS denied the target for lack of the permission.
async fn permit(cx: &StepContext<'_>, required: bool) -> Result<(), StepError> {
    let failed = StepError::from_client(ErrorCode::EventBusPermissionFailed);
    let fatal = |reason: Message| StepError::fatal(ErrorCode::EventBusPermissionFailed, reason);
    let bus = &cx.services.aws.controller().bus;
    let (settings, account) = (&cx.services.settings, &cx.deployment.account_id);
    let name = &settings.event_bus;
    let before = bus.describe(name).await.map_err(&failed)?;
    if is_nearly_full(before.policy_bytes, MAX_POLICY_BYTES) {
        tracing::warn!(
            bus = name,
            bytes = before.policy_bytes,
            limit = MAX_POLICY_BYTES,
            "policy of the event bus near its limit"
        );
    }
    if !required && !EventRoute::to(&before.arn, account, &cx.deployment.region).needs_statement() {
        return Ok(());
    }
    match granted_to(cx, &before) {
        Granted::Yes => return Ok(()),
        Granted::Denied(statement) => {
            return Err(fatal(message!("reason.bus_denies", statement, bus = name, account)));
        }
        Granted::Conditionally if settings.bus_policy == BusPolicy::Managed => return Ok(()),
        Granted::Conditionally | Granted::No => {}
    }
    let organization = settings.bus_organization.as_deref();
    let put = match (settings.bus_policy, organization) {
        (BusPolicy::Managed, _) => {
            let statement = account_statement(&before.arn, account);
            return Err(fatal(message!("reason.bus_managed", bus = name, account, statement = statement.to_string())));
        }
        (BusPolicy::Organization, Some(organization)) => {
            bus.allow_organization(name, ORGANIZATION_STATEMENT, organization).await
        }
        _ => bus.allow_account(name, &permission_statement(account), account).await,
    };
    put.map_err(|error| failed(with_remedy(error, name)))?;
    let after = bus.describe(name).await.map_err(&failed)?;
    if granted_to(cx, &after) == Granted::Yes {
        return Ok(());
    }
    let reason = message!("reason.bus_not_yet", bus = name, account);
    Err(StepError::retryable(ErrorCode::EventBusPermissionFailed, reason))
}

fn with_remedy(error: ClientError, bus: &str) -> ClientError {
    match error.kind {
        ErrorKind::LimitExceeded => error.with_remedy(message!("reason.bus_policy_full", bus, max = MAX_POLICY_BYTES)),
        _ => error,
    }
}

/// Returns the first step that depends on the kind of deployment: fetching the source, or publishing the existing image.
pub(super) fn first_source_step(cx: &StepContext<'_>) -> Step {
    match &cx.deployment.requested.source {
        Source::Revision(_) => FetchSource {}.into(),
        Source::Image(digest) => PushImage { publish: Some(digest.clone()), ..PushImage::default() }.into(),
    }
}

/// Evaluates the policy of the bus for the deployment's account.
pub(super) fn granted_to(cx: &StepContext<'_>, bus: &BusDescription) -> Granted {
    let organization = cx.services.settings.bus_organization.as_deref();
    granted(bus.policy.as_ref(), &bus.arn, &cx.deployment.account_id, organization)
}

/// Reports whether nothing more can be done so that the bus accepts the account's events.
pub(super) fn is_permitted(cx: &StepContext<'_>, bus: &BusDescription) -> bool {
    granted_to(cx, bus) == Granted::Yes
}

/// Reports whether at least 80 % of a quota are used.
pub(super) fn is_nearly_full(used: usize, quota: usize) -> bool {
    used.saturating_mul(100) >= quota.saturating_mul(80)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quota_is_nearly_full_from_80_percent() {
        assert!(is_nearly_full(240, 300) && is_nearly_full(8_192, MAX_POLICY_BYTES));
        assert!(!is_nearly_full(239, 300) && !is_nearly_full(8_191, MAX_POLICY_BYTES));
    }
}
