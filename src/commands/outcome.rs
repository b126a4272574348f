//! Outcome: marks how a deployment did in production. Marking it again replaces the mark.

use serde_json::json;

use super::access::require_role;
use super::deploy::error::DeployError;
use super::deployment_change::{Begun, DeploymentChange, not_found};
use super::error::CommandError;
use super::idempotency::{Idempotent, KeyedTransaction};
use crate::db::Db;
use crate::db::audit::{self, AuditRecord};
use crate::db::deployments::requests;
use crate::domain::audit::Action;
use crate::domain::principal::Role;
use crate::domain::production_outcome::ProductionOutcome;

/// Marks the outcome of a deployment whose traffic was on green, also of an archived one. The reason is kept in the audit log.
///
/// # Errors
/// The caller's role is too low, or the deployment is unknown or has not reached users.
pub async fn mark_outcome(
    db: &Db,
    change: DeploymentChange<'_>,
    outcome: ProductionOutcome,
    reason: Option<&str>,
) -> Result<Idempotent<()>, CommandError> {
    let DeploymentChange { id, by, .. } = change;
    require_role(by, Role::Deployer)?;
    let details = json!({"outcome": outcome.as_str(), "reason": reason});
    let mut entry =
        AuditRecord { by, action: Action::MarkOutcome, target: Some(id), repository: None, refused: None, details };
    let mut tx = match change.begin(db).await {
        Ok(Begun::First(tx)) => tx,
        Ok(Begun::Repeated(answer)) => return Ok(Idempotent::Replayed(answer)),
        // Of a caller with a scope: the archived deployment is in it.
        Err(CommandError::Deploy(DeployError::Archived(_))) => KeyedTransaction::begin(db, change.key).await?,
        Err(error) => return Err(error),
    };
    if requests::mark_outcome(&mut tx, id, outcome).await? {
        audit::record(&mut tx, &entry).await?;
        return change.commit(tx).await;
    }
    if requests::status(&mut tx, id).await?.is_some() {
        return Err(DeployError::NotLive(id.to_owned()).into());
    }
    // The archive may have taken it since: it is there by now.
    if let Some((owner, repo)) = requests::mark_archived_outcome(&mut tx, id, by.scope(), outcome).await? {
        entry.repository = Some((&owner, &repo));
        audit::record(&mut tx, &entry).await?;
        return change.commit(tx).await;
    }
    Err(match not_found(&mut tx, &change).await {
        CommandError::Deploy(DeployError::Archived(id)) => DeployError::NotLive(id).into(),
        error => error,
    })
}
