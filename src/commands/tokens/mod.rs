//! API tokens. An operator creates and revokes them on the command line, with access to the database and without a role, because the first token is
//! created by no principal; an admin of all repositories does over the API ([`issue_token`], [`withdraw_token`]).

pub mod error;

use serde_json::{Value, json};

use self::error::TokenError;
use super::access::{require_all_repositories, require_role};
use super::error::CommandError;
use super::idempotency::{Idempotent, KeyedTransaction};
use super::notify::notify_work;
use super::schedules::stop::stop;
use crate::db::audit::{self, AuditRecord};
use crate::db::deployments::requests::cancel_queued;
use crate::db::idempotency::IdempotencyKey;
use crate::db::schedules::permission::ScheduleSelector;
use crate::db::tokens::{self, NewToken, TokenView};
use crate::db::{Db, DbError, PgConnection};
use crate::domain::audit::Action;
use crate::domain::permission::PermissionEnd;
use crate::domain::principal::{Caller, Role};
use crate::domain::token::SecretHash;

/// Outcome of revoking a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenRevocation {
    /// The token is revoked now.
    Now,
    /// The token was revoked before.
    Before,
    /// The token does not exist.
    Unknown,
}

/// Stores a token by its hash.
pub async fn create_token(db: &Db, new: &NewToken, hash: &SecretHash, by: &Caller) -> Result<(), DbError> {
    let mut tx = db.begin().await?;
    insert(&mut tx, new, hash, by).await?;
    tx.commit().await
}

/// Stores a token by its hash for an admin, and `answer`, which must not contain the token, under the key.
///
/// # Errors
/// The caller is not an admin of all repositories, or the key was used for another request.
pub async fn issue_token(
    db: &Db,
    new: &NewToken,
    hash: &SecretHash,
    key: Option<&IdempotencyKey>,
    by: &Caller,
    answer: impl FnOnce(TokenView) -> Value,
) -> Result<Idempotent<Value>, CommandError> {
    require_admin(by)?;
    let mut tx = KeyedTransaction::begin(db, key).await?;
    if let Some(answer) = tx.repeated().await? {
        return Ok(Idempotent::Replayed(answer));
    }
    insert(&mut tx, new, hash, by).await?;
    let made = tokens::find(&mut tx, &new.id).await?;
    let missing = || DbError::Corrupt(format!("token {} is missing right after its insert", new.id));
    let answer = answer(made.ok_or_else(missing)?);
    tx.commit(&answer).await?;
    Ok(Idempotent::Fresh(answer))
}

/// Revokes a token for an admin, as [`revoke_token`], and returns it. A token that was revoked before stays as it is.
///
/// # Errors
/// The caller is not an admin of all repositories, or there is no such token.
pub async fn withdraw_token(db: &Db, id: &str, by: &Caller) -> Result<TokenView, CommandError> {
    require_admin(by)?;
    revoke_token(db, id, by).await?;
    db.token(id).await?.ok_or_else(|| TokenError::NotFound(id.to_owned()).into())
}

/// A token acts for repositories that another admin's scope may lack.
fn require_admin(by: &Caller) -> Result<(), CommandError> {
    require_role(by, Role::Admin)?;
    require_all_repositories(by)
}

async fn insert(tx: &mut PgConnection, new: &NewToken, hash: &SecretHash, by: &Caller) -> Result<(), DbError> {
    tokens::insert(tx, new, hash).await?;
    let details =
        json!({"name": new.name, "role": new.role, "repositories": new.scope.sql(), "expiresAt": new.expires_at});
    let (action, target) = (Action::CreateToken, Some(new.id.as_str()));
    audit::record(tx, &AuditRecord { by, action, target, repository: None, refused: None, details }).await.map(drop)
}

/// Revokes a token: servers stop accepting it within seconds, and its schedules and queued deployments end with it.
pub async fn revoke_token(db: &Db, id: &str, by: &Caller) -> Result<TokenRevocation, DbError> {
    let mut tx = db.begin().await?;
    let Some(name) = tokens::revoke(&mut tx, id).await? else {
        let known = tokens::exists(&mut tx, id).await?;
        return Ok(if known { TokenRevocation::Before } else { TokenRevocation::Unknown });
    };
    let ended = PermissionEnd::TokenRevoked(id.to_owned());
    let schedules = stop(&mut tx, ScheduleSelector::Token(id), &ended, by).await?;
    let deployments = cancel_queued(&mut tx, "token", &name, Some(id), &schedules).await?;
    let details = json!({"name": name, "schedules": schedules, "deployments": deployments});
    let (action, target) = (Action::RevokeToken, Some(id));
    audit::record(&mut tx, &AuditRecord { by, action, target, repository: None, refused: None, details }).await?;
    tx.commit().await?;
    notify_work(db, &deployments).await;
    Ok(TokenRevocation::Now)
}
