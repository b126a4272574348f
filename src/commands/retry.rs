//! Retry: another attempt of a failed deployment. Its first step, `resume`, decides from what the last attempt left behind where to continue.

use super::access::require_role;
use super::deploy::error::DeployError;
use super::deploy::removed_connection::removed_connection;
use super::deployment_change::{Begun, DeploymentChange, not_found};
use super::error::CommandError;
use super::freezes::overriding::{self, hold_of_continued_switch, hold_of_start, require_free};
use super::idempotency::Idempotent;
use crate::db::deployments::attempts::{AttemptBeginning, begin_attempt, was_to_be_switched};
use crate::db::deployments::{requests, target};
use crate::db::{Db, PgConnection, events, queue};
use crate::domain::audit::Action;
use crate::domain::deployment::Status;
use crate::domain::freeze::Act;
use crate::domain::principal::Role;

/// Starts another attempt, at `step`, of a failed deployment whose target is free and whose connections can be used. The attempt may continue a switch,
/// so a deployment that was to be switched needs the role approver.
///
/// A freeze of starts lets the attempt wait in the queue; a freeze of switches refuses one that may continue a switch. `freeze_override` is an approver's
/// reason for which freezes do neither.
///
/// # Errors
/// The caller's role is too low, the deployment is unknown or has not failed, another one has the target, or a connection cannot be used.
pub async fn retry(
    db: &Db,
    change: DeploymentChange<'_>,
    step: &str,
    freeze_override: Option<&str>,
) -> Result<Idempotent<()>, CommandError> {
    let DeploymentChange { id, by, .. } = change;
    require_role(by, Role::to_cancel_or_retry(freeze_override.is_some()))?;
    let mut tx = match change.begin(db).await? {
        Begun::First(tx) => tx,
        Begun::Repeated(answer) => return Ok(Idempotent::Replayed(answer)),
    };
    let Some(target) = target::target_of(&mut tx, id).await? else { return Err(not_found(&mut tx, &change).await) };
    queue::lock_target(&mut tx, &target.account_id, &target.region, &target.ecr_repository).await?;
    let other = target::other_user(&mut tx, &target, id).await?;
    require_failed(&mut tx, &change).await?;
    let may_switch = was_to_be_switched(&mut tx, id).await?;
    require_role(by, Role::to_cancel_or_retry(may_switch))?;
    if let Some(other) = other {
        return Err(DeployError::TargetTaken { other, retry_of: Some(id.to_owned()) }.into());
    }
    let (github, aws) = (&target.github_connection_id, &target.aws_connection_id);
    if let Some(removed) = removed_connection(&mut tx, github, aws).await? {
        return Err(removed.into());
    }
    if may_switch {
        require_free(hold_of_continued_switch(&mut tx, id).await?.as_ref(), freeze_override, id)?;
    }
    let hold = hold_of_start(&mut tx, id).await?;
    let audited =
        change.record_with(&mut tx, Action::Retry, overriding::details(hold.as_ref(), freeze_override)).await?;
    let overridden = hold.is_some() && freeze_override.is_some();
    let begin = AttemptBeginning { queued: hold.is_some() && !overridden, freeze_overridden: overridden };
    if begin_attempt(&mut tx, id, step, by.principal.known_subject(), audited, begin).await? {
        overriding::publish(&mut tx, id, Act::Start, (hold.as_ref(), freeze_override), by).await?;
        if let Some(hold) = hold.filter(|_| !overridden) {
            events::append(&mut tx, id, &hold.held()).await?;
        }
        return change.commit(tx).await;
    }
    // Archived since its status was read.
    Err(not_found(&mut tx, &change).await)
}

async fn require_failed(tx: &mut PgConnection, change: &DeploymentChange<'_>) -> Result<(), CommandError> {
    match requests::status(tx, change.id).await? {
        Some(Status::Failed) => Ok(()),
        Some(status) => Err(DeployError::NotFailed { id: change.id.to_owned(), status: status.as_str() }.into()),
        None => Err(not_found(tx, change).await),
    }
}
