//! Freezes: an admin of what a freeze covers holds the starts or switches of deployments for a time, and may lift it before. All times are by the
//! database's clock. Deployments that wait start when the freeze is lifted, or by the periodic tasks when it ends.

pub mod error;
pub mod overriding;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use self::error::FreezeError;
use super::access::require_role;
use super::error::CommandError;
use super::idempotency::{Idempotent, KeyedTransaction};
use super::notify::notify_work;
use crate::db::audit::{self, AuditRecord};
use crate::db::freezes::{self, FreezeView, NewFreeze};
use crate::db::idempotency::IdempotencyKey;
use crate::db::{Db, DbError, PgConnection};
use crate::domain::audit::Action;
use crate::domain::freeze::{FreezeScope, Holds, MAX_PENDING, period};
use crate::domain::ids;
use crate::domain::message::{Message, message};
use crate::domain::principal::{Caller, Role, Scope};

/// A caller's request for a freeze.
#[derive(Clone, Debug)]
pub struct FreezeRequest {
    /// Deployments that it concerns.
    pub scope: FreezeScope,
    /// Acts that it holds.
    pub holds: Holds,
    /// Reason in the caller's words.
    pub reason: String,
    /// Time from which on it holds; none for now.
    pub starts_at: Option<DateTime<Utc>>,
    /// Time until which it holds, unless it is lifted before.
    pub ends_at: DateTime<Utc>,
}

/// Creates a freeze, and stores `answer` (made from it) under the key.
///
/// # Errors
/// The caller is not an admin of what it covers, its time is invalid, or there are too many.
pub async fn create(
    db: &Db,
    request: FreezeRequest,
    key: Option<&IdempotencyKey>,
    by: &Caller,
    answer: impl FnOnce(FreezeView) -> Value,
) -> Result<Idempotent<Value>, CommandError> {
    require_admin_of(by, &request.scope)?;
    let mut tx = KeyedTransaction::begin(db, key).await?;
    if let Some(answer) = tx.repeated().await? {
        return Ok(Idempotent::Replayed(answer));
    }
    let (now, pending) = freezes::count_pending(&mut tx).await?;
    let period = period(request.starts_at, request.ends_at, now)?;
    if pending >= MAX_PENDING {
        return Err(FreezeError::TooMany.into());
    }
    let FreezeRequest { scope, holds, reason, .. } = request;
    let new = NewFreeze { id: ids::freeze_id(), scope, holds, reason, period };
    freezes::insert(&mut tx, &new, &by.principal.subject).await?;
    let details = json!({
        "scope": new.scope.to_string(), "holds": new.holds.as_str(), "reason": new.reason,
        "startsAt": new.period.0, "endsAt": new.period.1,
    });
    record(&mut tx, by, Action::CreateFreeze, (&new.id, &new.scope), details).await?;
    let made = freezes::find(&mut tx, &Scope::All, &new.id).await?;
    let missing = || DbError::Corrupt(format!("freeze {} is missing right after its insert", new.id));
    let answer = answer(made.ok_or_else(missing)?);
    tx.commit(&answer).await?;
    Ok(Idempotent::Fresh(answer))
}

/// Lifts a freeze, starts the deployments that waited for its end, and returns it. One that has ended, or was lifted before, stays as it is.
///
/// # Errors
/// The caller's scope does not show the freeze, or the caller is not an admin of what it covers.
pub async fn lift(db: &Db, id: &str, by: &Caller) -> Result<FreezeView, CommandError> {
    require_role(by, Role::Admin)?;
    let mut tx = db.begin().await?;
    let not_found = || FreezeError::NotFound(id.to_owned());
    let found = freezes::find(&mut tx, by.scope(), id).await?.ok_or_else(not_found)?;
    let scope: FreezeScope = found.scope.parse().map_err(DbError::corrupt)?;
    require_admin_of(by, &scope)?;
    if !freezes::lift(&mut tx, id, &by.principal.subject).await? {
        return Ok(freezes::find(&mut tx, by.scope(), id).await?.ok_or_else(not_found)?);
    }
    let details = json!({"scope": found.scope, "holds": found.holds, "endsAt": found.ends_at});
    record(&mut tx, by, Action::LiftFreeze, (id, &scope), details).await?;
    let lifted = freezes::find(&mut tx, by.scope(), id).await?.ok_or_else(not_found)?;
    tx.commit().await?;
    match db.start_queued_deployments().await {
        Ok(started) => notify_work(db, &started).await,
        Err(error) => {
            tracing::warn!(%error, "queued deployments not started after a freeze was lifted, retrying periodically");
        }
    }
    Ok(lifted)
}

/// Requires an admin whose scope has everything that the freeze covers: an account or a region has deployments of any repository.
///
/// # Errors
/// The caller is not an admin, or the freeze covers more than the caller's scope.
pub fn require_admin_of(by: &Caller, scope: &FreezeScope) -> Result<(), CommandError> {
    require_role(by, Role::Admin)?;
    let covered = match scope {
        FreezeScope::All | FreezeScope::Account(_) | FreezeScope::Region(_) => Scope::All,
        FreezeScope::Owner(owner) => Scope::Repositories(vec![format!("{owner}/*")]),
        FreezeScope::Repository(owner, repo) => Scope::Repositories(vec![format!("{owner}/{repo}")]),
    };
    if by.scope().includes(&covered) {
        return Ok(());
    }
    Err(CommandError::OutOfScope(match covered {
        Scope::All => message!("OUT_OF_SCOPE.all"),
        Scope::Repositories(names) => Message::verbatim(names.join(", ")),
    }))
}

async fn record(
    tx: &mut PgConnection,
    by: &Caller,
    action: Action,
    (id, scope): (&str, &FreezeScope),
    details: Value,
) -> Result<(), DbError> {
    let repository = match scope {
        FreezeScope::Repository(owner, repo) => Some((owner.as_str(), repo.as_str())),
        _ => None,
    };
    let entry = AuditRecord { by, action, target: Some(id), repository, refused: None, details };
    audit::record(tx, &entry).await.map(drop)
}
