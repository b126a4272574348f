//! Cancel: ends an unfinished deployment. Requesting it again changes nothing.

use super::access::require_role;
use super::deploy::error::DeployError;
use super::deployment_change::{Begun, DeploymentChange, not_found};
use super::error::CommandError;
use super::idempotency::Idempotent;
use crate::db::Db;
use crate::db::deployments::requests;
use crate::domain::audit::Action;
use crate::domain::deployment::Status;
use crate::domain::principal::Role;

/// Requests the cancellation. Once the switch was requested, cancelling is a rollback and needs the role approver.
///
/// # Errors
/// The caller's role is too low, or the deployment is unknown or has ended.
pub async fn cancel(db: &Db, change: DeploymentChange<'_>) -> Result<Idempotent<()>, CommandError> {
    let DeploymentChange { id, by, .. } = change;
    require_role(by, Role::to_cancel_or_retry(false))?;
    let mut tx = match change.begin(db).await? {
        Begun::First(tx) => tx,
        Begun::Repeated(answer) => return Ok(Idempotent::Replayed(answer)),
    };
    let (role, needed) = (by.principal.role, Role::to_cancel_or_retry(true));
    let audited = change.record(&mut tx, Action::Cancel).await?;
    if requests::request_cancel(&mut tx, id, role >= needed, audited).await? {
        return change.commit(tx).await;
    }
    Err(match requests::status(&mut tx, id).await? {
        None => not_found(&mut tx, &change).await,
        // Only the caller's role prevents the cancellation of an unfinished deployment.
        Some(Status::Running | Status::DeploymentReady) => CommandError::NotAllowed { needed, role },
        Some(ended) => DeployError::AlreadyFinished { id: id.to_owned(), status: ended.as_str() }.into(),
    })
}
