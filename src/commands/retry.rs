//! Retry: another attempt of a failed deployment. Its first step, `resume`, decides from what the last attempt left behind where to continue.

use super::access::require_role;
use super::deploy::error::DeployError;
use super::deploy::removed_connection::removed_connection;
use super::deployment_change::{Begun, DeploymentChange, not_found};
use super::error::CommandError;
use super::idempotency::Idempotent;
use crate::db::deployments::attempts::{begin_attempt, was_to_be_switched};
use crate::db::deployments::{requests, target};
use crate::db::{Db, PgConnection, queue};
use crate::domain::audit::Action;
use crate::domain::deployment::Status;
use crate::domain::principal::Role;

/// Starts another attempt, at `step`, of a failed deployment whose target is free and whose connections can be used. The attempt may continue a switch,
/// so a deployment that was to be switched needs the role approver.
///
/// # Errors
/// The caller's role is too low, the deployment is unknown or has not failed, another one has the target, or a connection cannot be used.
pub async fn retry(db: &Db, change: DeploymentChange<'_>, step: &str) -> Result<Idempotent<()>, CommandError> {
    let DeploymentChange { id, by, .. } = change;
    require_role(by, Role::to_cancel_or_retry(false))?;
    let mut tx = match change.begin(db).await? {
        Begun::First(tx) => tx,
        Begun::Repeated(answer) => return Ok(Idempotent::Replayed(answer)),
    };
    let Some(target) = target::target_of(&mut tx, id).await? else { return Err(not_found(&mut tx, &change).await) };
    queue::lock_target(&mut tx, &target.account_id, &target.region, &target.ecr_repository).await?;
    let other = target::other_user(&mut tx, &target, id).await?;
    require_failed(&mut tx, &change).await?;
    require_role(by, Role::to_cancel_or_retry(was_to_be_switched(&mut tx, id).await?))?;
    if let Some(other) = other {
        return Err(DeployError::TargetTaken { other, retry_of: Some(id.to_owned()) }.into());
    }
    let (github, aws) = (&target.github_connection_id, &target.aws_connection_id);
    if let Some(removed) = removed_connection(&mut tx, github, aws).await? {
        return Err(removed.into());
    }
    let audited = change.record(&mut tx, Action::Retry).await?;
    if begin_attempt(&mut tx, id, step, by.principal.known_subject(), audited).await? {
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
