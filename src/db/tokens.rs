//! API tokens: created and revoked on the command line, looked up by servers. The tables contain only their hashes.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::json;

use super::audit::{self, AuditRecord};
use super::schedules::permission::{ScheduleSelector, cancel_queued, stop};
use super::{Db, DbError};
use crate::domain::audit::Action;
use crate::domain::permission::PermissionEnd;
use crate::domain::permission_basis::Basis;
use crate::domain::principal::{AuthMethod, Caller, Principal, Role, Scope};
use crate::domain::token::SecretHash;

/// A token as it may be shown.
#[derive(Clone, Debug)]
pub struct TokenView {
    /// Token id, with the prefix `tok_`.
    pub id: String,
    /// Name of the holder.
    pub name: String,
    /// Name of the role that it grants.
    pub role: String,
    /// Repositories that the token covers; none for all.
    pub scope: Option<Vec<String>>,
    /// Time of creation (UTC).
    pub created_at: DateTime<Utc>,
    /// Expiry (UTC); none for never.
    pub expires_at: Option<DateTime<Utc>>,
    /// Time of revocation (UTC); none while it is valid.
    pub revoked_at: Option<DateTime<Utc>>,
}

/// Values of a new token.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// Token id, with the prefix `tok_`.
    pub id: String,
    /// Name of the holder.
    pub name: String,
    /// Role that it grants.
    pub role: Role,
    /// Repositories that the token covers.
    pub scope: Scope,
    /// Expiry (UTC); none for never.
    pub expires_at: Option<DateTime<Utc>>,
}

/// A valid token or session.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// Hash under which the token or session was looked up.
    pub hash: SecretHash,
    /// Principal that the token or session authenticates.
    pub principal: Principal,
    /// Time until it expires, by the database's clock; none for never.
    pub left: Option<Duration>,
}

/// Converts remaining seconds to a duration; zero when they are negative.
pub(super) fn seconds(left: f64) -> Duration {
    Duration::try_from_secs_f64(left).unwrap_or_default()
}

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

impl Db {
    /// Stores a token by its hash.
    pub async fn insert_token(&self, new: &NewToken, hash: &SecretHash, by: &Caller) -> Result<(), DbError> {
        let mut tx = self.pool.begin().await?;
        sqlx::query!(
            "INSERT INTO api_tokens (id, name, token_hash, role, scope, expires_at) VALUES ($1, $2, $3, $4, $5, $6)",
            new.id,
            new.name,
            hash.bytes(),
            new.role.as_str(),
            new.scope.sql(),
            new.expires_at
        )
        .execute(&mut *tx)
        .await?;
        let details =
            json!({"name": new.name, "role": new.role, "repositories": new.scope.sql(), "expiresAt": new.expires_at});
        let (action, target) = (Action::CreateToken, Some(new.id.as_str()));
        audit::record(&mut tx, &AuditRecord { by, action, target, repository: None, refused: None, details }).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Lists all tokens, oldest first.
    pub async fn tokens(&self) -> Result<Vec<TokenView>, DbError> {
        Ok(sqlx::query_as!(
            TokenView,
            "SELECT id, name, role, scope, created_at, expires_at, revoked_at FROM api_tokens ORDER BY created_at, id"
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// Revokes a token: servers stop accepting it within seconds, and its schedules and queued deployments end with it.
    pub async fn revoke_token(&self, id: &str, by: &Caller) -> Result<TokenRevocation, DbError> {
        let mut tx = self.pool.begin().await?;
        let name = sqlx::query_scalar!(
            "UPDATE api_tokens SET revoked_at = now() WHERE id = $1 AND revoked_at IS NULL RETURNING name",
            id
        );
        if let Some(name) = name.fetch_optional(&mut *tx).await? {
            let schedules =
                stop(&mut tx, ScheduleSelector::Token(id), &PermissionEnd::TokenRevoked(id.to_owned()), by).await?;
            let deployments = cancel_queued(&mut tx, "token", &name, Some(id), &schedules).await?;
            let details = json!({"name": name, "schedules": schedules, "deployments": deployments});
            let (action, target) = (Action::RevokeToken, Some(id));
            audit::record(&mut tx, &AuditRecord { by, action, target, repository: None, refused: None, details })
                .await?;
            tx.commit().await?;
            self.notify_cancelled(&deployments).await;
            return Ok(TokenRevocation::Now);
        }
        let known =
            sqlx::query_scalar!("SELECT id FROM api_tokens WHERE id = $1", id).fetch_optional(&self.pool).await?;
        Ok(known.map_or(TokenRevocation::Unknown, |_| TokenRevocation::Before))
    }

    /// Reports that a token exists with which the API can be used now.
    pub async fn has_usable_token(&self) -> Result<bool, DbError> {
        Ok(sqlx::query_scalar!(
            "SELECT EXISTS (SELECT FROM api_tokens WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())) AS \"any!\""
        )
        .fetch_one(&self.pool)
        .await?)
    }

    /// Returns the principals of the tokens with these hashes; invalid tokens are left out.
    pub async fn token_principals(&self, hashes: &[SecretHash]) -> Result<Vec<Accepted>, DbError> {
        let hashes: Vec<Vec<u8>> = hashes.iter().map(|hash| hash.bytes().to_vec()).collect();
        let rows = sqlx::query!(
            "SELECT token_hash, id, name, role, scope, expires_at,
                    extract(epoch FROM expires_at - clock_timestamp())::float8 AS \"left?\"
             FROM api_tokens
             WHERE token_hash = ANY ($1) AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())",
            &hashes
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| {
                let hash = SecretHash::from_sql(&row.token_hash);
                let hash = hash.ok_or_else(|| DbError::Corrupt(format!("the token {} has no hash", row.id)))?;
                let principal = Principal {
                    subject: row.name,
                    kind: AuthMethod::Token(row.id),
                    role: row.role.parse().map_err(DbError::Corrupt)?,
                    scope: Scope::from_sql(row.scope),
                    expires_at: row.expires_at,
                    basis: Basis::Kind,
                };
                Ok(Accepted { hash, principal, left: row.left.map(seconds) })
            })
            .collect()
    }
}
