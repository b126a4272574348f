//! API tokens: only an operator creates and revokes them, on the command line and with access to the database. No role is required: the first token
//! is created by no principal.

use serde_json::json;

use super::notify::notify_work;
use super::schedules::stop::stop;
use crate::db::audit::{self, AuditRecord};
use crate::db::deployments::requests::cancel_queued;
use crate::db::schedules::permission::ScheduleSelector;
use crate::db::tokens::{self, NewToken};
use crate::db::{Db, DbError};
use crate::domain::audit::Action;
use crate::domain::permission::PermissionEnd;
use crate::domain::principal::Caller;
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
    tokens::insert(&mut tx, new, hash).await?;
    let details =
        json!({"name": new.name, "role": new.role, "repositories": new.scope.sql(), "expiresAt": new.expires_at});
    let (action, target) = (Action::CreateToken, Some(new.id.as_str()));
    audit::record(&mut tx, &AuditRecord { by, action, target, repository: None, refused: None, details }).await?;
    tx.commit().await
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
