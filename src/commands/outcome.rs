//! Outcome: marks how a deployment did in production. Marking it again replaces the mark.

use serde_json::json;

use super::access::require_role;
use super::deploy::error::DeployError;
use super::deployment_change::{Begun, DeploymentChange, not_found};
use super::error::CommandError;
use super::idempotency::Idempotent;
use crate::db::Db;
use crate::db::audit::{self, AuditRecord};
use crate::db::deployments::requests;
use crate::domain::audit::Action;
use crate::domain::principal::Role;
use crate::domain::production_outcome::ProductionOutcome;

/// Marks the outcome of a deployment whose traffic was on green. The reason is kept in the audit log.
///
/// # Errors
/// The caller's role is too low, or the deployment is unknown, archived, or has not reached users.
pub async fn mark_outcome(
    db: &Db,
    change: DeploymentChange<'_>,
    outcome: ProductionOutcome,
    reason: Option<&str>,
) -> Result<Idempotent<()>, CommandError> {
    let DeploymentChange { id, by, .. } = change;
    require_role(by, Role::Deployer)?;
    let mut tx = match change.begin(db).await? {
        Begun::First(tx) => tx,
        Begun::Repeated(answer) => return Ok(Idempotent::Replayed(answer)),
    };
    let details = json!({"outcome": outcome.as_str(), "reason": reason});
    let entry =
        AuditRecord { by, action: Action::MarkOutcome, target: Some(id), repository: None, refused: None, details };
    audit::record(&mut tx, &entry).await?;
    if requests::mark_outcome(&mut tx, id, outcome).await? {
        return change.commit(tx).await;
    }
    Err(match requests::status(&mut tx, id).await? {
        None => not_found(&mut tx, &change).await,
        Some(_) => DeployError::NotLive(id.to_owned()).into(),
    })
}
