//! Revocations: a subject of an OpenID Connect issuer is refused under any token, and what acts in its name ends.

pub mod error;

use serde_json::json;

use self::error::RevocationError;
use super::access::{require_all_repositories, require_role};
use super::error::CommandError;
use super::notify::notify_work;
use super::schedules::stop::stop;
use crate::db::Db;
use crate::db::audit::{self, AuditRecord};
use crate::db::deployments::requests::cancel_queued;
use crate::db::revocations::{self, Revocation};
use crate::db::schedules::permission::ScheduleSelector;
use crate::domain::audit::Action;
use crate::domain::oidc_claims::subject_of;
use crate::domain::permission::PermissionEnd;
use crate::domain::principal::{AuthMethod, Caller, Role};

/// A revocation, and what ended with it.
#[derive(Clone, Debug)]
pub struct RevocationEffects {
    /// The revocation, possibly from an earlier call.
    pub revocation: Revocation,
    /// Schedules stopped by this call.
    pub schedules: Vec<String>,
    /// Queued deployments whose cancellation this call requested.
    pub deployments: Vec<String>,
}

/// Revokes a subject of an issuer and ends what acts in its name: its schedules, and its queued deployments. Running deployments continue. Repeated, it
/// ends those created since.
///
/// # Errors
/// The caller is not an admin of all repositories.
pub async fn revoke_subject(
    db: &Db,
    (issuer, subject): (&str, &str),
    reason: Option<&str>,
    by: &Caller,
) -> Result<RevocationEffects, CommandError> {
    require_role(by, Role::Admin)?;
    require_all_repositories(by)?;
    let principal = subject_of(issuer, subject);
    let mut tx = db.begin().await?;
    let added = revocations::insert(&mut tx, &principal, (issuer, subject), reason, &by.principal.subject).await?;
    let revocation = revocations::of_principal(&mut tx, &principal).await?;
    let ended = PermissionEnd::SubjectRevoked(principal.clone());
    let schedules = stop(&mut tx, ScheduleSelector::Subject(&principal), &ended, by).await?;
    let deployments = cancel_queued(&mut tx, AuthMethod::Oidc.as_str(), &principal, None, &schedules).await?;
    if added || !schedules.is_empty() || !deployments.is_empty() {
        let details = json!({"issuer": issuer, "subject": subject, "reason": reason, "schedules": schedules, "deployments": deployments});
        let (action, target) = (Action::RevokeSubject, Some(revocation.id.as_str()));
        audit::record(&mut tx, &AuditRecord { by, action, target, repository: None, refused: None, details }).await?;
    }
    tx.commit().await?;
    notify_work(db, &deployments).await;
    Ok(RevocationEffects { revocation, schedules, deployments })
}

/// Accepts the subject of a revocation again. Stopped schedules stay stopped.
///
/// # Errors
/// The caller is not an admin of all repositories, or there is no such revocation.
pub async fn restore_subject(db: &Db, id: &str, by: &Caller) -> Result<Revocation, CommandError> {
    require_role(by, Role::Admin)?;
    require_all_repositories(by)?;
    let mut tx = db.begin().await?;
    let Some(lifted) = revocations::delete(&mut tx, id).await? else {
        return Err(RevocationError::NotFound(id.to_owned()).into());
    };
    let details = json!({"issuer": lifted.issuer, "subject": lifted.subject});
    let (action, target) = (Action::RestoreSubject, Some(id));
    audit::record(&mut tx, &AuditRecord { by, action, target, repository: None, refused: None, details }).await?;
    tx.commit().await?;
    Ok(lifted)
}
