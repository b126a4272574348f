//! Maintenance on request: removes data that is past its retention, or counts it, before the next scheduled time. It concerns all repositories, so the
//! caller needs all of them.

use serde_json::{Value, json};

use super::access::{require_all_repositories, require_role};
use super::error::CommandError;
use super::idempotency::{Idempotent, KeyedTransaction};
use crate::db::audit::{self, AuditRecord};
use crate::db::idempotency::IdempotencyKey;
use crate::db::{Db, maintenance};
use crate::domain::audit::Action;
use crate::domain::maintenance::{RetentionKind, RetentionRule};
use crate::domain::message::message;
use crate::domain::principal::{Caller, Role};
use crate::domain::validate::FieldRefusal;

/// Requests a run of `kind`, or for data on the replicas' machines one from each living replica. `answer` is made from the rows' ids and stored under the
/// key.
///
/// # Errors
/// The caller is not an admin of all repositories, or the rules keep this kind for ever.
pub async fn request_maintenance(
    db: &Db,
    (kind, dry_run): (RetentionKind, bool),
    rules: &[RetentionRule],
    key: Option<&IdempotencyKey>,
    by: &Caller,
    answer: impl FnOnce(&[i64]) -> Value,
) -> Result<Idempotent<Value>, CommandError> {
    require_role(by, Role::Admin)?;
    require_all_repositories(by)?;
    if rules.iter().any(|rule| rule.kind == kind && rule.is_never()) {
        let option = format!("PANDA_RETENTION_{}", kind.as_str().to_uppercase());
        return Err(FieldRefusal::new("kind", message!("rule.retention_never", kind = kind.as_str(), option)).into());
    }
    let mut tx = KeyedTransaction::begin(db, key).await?;
    if let Some(answer) = tx.repeated().await? {
        return Ok(Idempotent::Replayed(answer));
    }
    let answer = answer(&maintenance::request(&mut tx, kind, dry_run, &by.principal.subject).await?);
    let (action, target) = (Action::RunMaintenance, Some(kind.as_str()));
    let details = json!({"kind": kind.as_str(), "dryRun": dry_run});
    audit::record(&mut tx, &AuditRecord { by, action, target, repository: None, refused: None, details }).await?;
    tx.commit(&answer).await?;
    Ok(Idempotent::Fresh(answer))
}
