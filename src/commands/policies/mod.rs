//! Policies: an admin of a repository stores what a target permits, as the next version.

pub mod gate_check;

use serde_json::json;

use super::access::require_role;
use super::error::CommandError;
use crate::db::audit::{self, AuditRecord};
use crate::db::policies::{self, PolicyTarget, PolicyVersion};
use crate::db::{Db, DbError};
use crate::domain::audit::Action;
use crate::domain::message::Message;
use crate::domain::policy::Policy;
use crate::domain::principal::{Caller, Role};

/// Requires the role for the policies of a repository.
///
/// # Errors
/// The caller is not an admin, or the repository is outside the caller's scope.
pub fn require_admin(target: &PolicyTarget, by: &Caller) -> Result<(), CommandError> {
    require_role(by, Role::Admin)?;
    if by.scope().holds(&target.owner, &target.repo) {
        return Ok(());
    }
    Err(CommandError::OutOfScope(Message::verbatim(format!("{}/{}", target.owner, target.repo))))
}

/// Stores the next version of a target's policy, unless the newest one is equal, and returns the newest one.
///
/// # Errors
/// The caller is not an admin, or the repository is outside the caller's scope.
pub async fn set_policy(
    db: &Db,
    target: &PolicyTarget,
    policy: &Policy,
    by: &Caller,
) -> Result<PolicyVersion, CommandError> {
    require_admin(target, by)?;
    let PolicyTarget { owner, repo, account_id, region } = target;
    let mut tx = db.begin().await?;
    let newest = policies::lock_newest(&mut tx, target).await?;
    let version = match newest {
        Some(newest) if newest.policy.0 == *policy => return Ok(newest),
        Some(newest) => {
            newest.version.checked_add(1).ok_or_else(|| DbError::Corrupt("too many versions".to_owned()))?
        }
        None => 1,
    };
    let stored = policies::insert(&mut tx, target, version, policy, &by.principal.subject).await?;
    let details = json!({"accountId": account_id, "region": region, "version": version, "policy": policy});
    let repository = Some((owner.as_str(), repo.as_str()));
    let entry = AuditRecord { by, action: Action::SetPolicy, target: None, repository, refused: None, details };
    audit::record(&mut tx, &entry).await?;
    tx.commit().await?;
    match db.start_queued_deployments().await {
        Ok(started) => super::notify::notify_work(db, &started).await,
        Err(error) => {
            tracing::warn!(%error, "queued deployments not started after a policy was stored, retrying periodically");
        }
    }
    Ok(stored)
}
