//! API tokens: made and revoked by the command line, looked for by servers. The tables have their hashes alone.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::json;

use super::audit::{self, Entry};
use super::schedules::permission::{Which, cancel_queued, stop};
use super::{Db, DbError};
use crate::domain::audit::Action;
use crate::domain::permission::{Basis, Ended};
use crate::domain::principal::{Caller, Kind, Principal, Role, Scope};
use crate::domain::token::SecretHash;

/// A token as it may be shown.
#[derive(Clone, Debug)]
pub struct TokenView {
    /// `tok_…`
    pub id: String,
    /// Who has it.
    pub name: String,
    /// What it may.
    pub role: String,
    /// What it is for; none for all repositories.
    pub scope: Option<Vec<String>>,
    /// When it was made (UTC).
    pub created_at: DateTime<Utc>,
    /// When it ends (UTC); none for never.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was revoked (UTC); none while it is not.
    pub revoked_at: Option<DateTime<Utc>>,
}

/// What is needed for a new token.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// `tok_…`
    pub id: String,
    /// Who has it.
    pub name: String,
    /// What it may.
    pub role: Role,
    /// What it is for.
    pub scope: Scope,
    /// When it ends; none for never.
    pub expires_at: Option<DateTime<Utc>>,
}

/// A token or session that is accepted.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// Its hash.
    pub hash: SecretHash,
    /// Whose it is.
    pub principal: Principal,
    /// For how long from now on, by the database's clock; none for ever.
    pub left: Option<Duration>,
}

/// A time that is left; none left when it is over.
pub(super) fn seconds(left: f64) -> Duration {
    Duration::try_from_secs_f64(left).unwrap_or_default()
}

/// What became of a wish to revoke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revoked {
    /// It is revoked now.
    Now,
    /// It was before.
    Before,
    /// There is no such token.
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
        audit::record(&mut tx, &Entry { by, action, target, repository: None, refused: None, details }).await?;
        tx.commit().await?;
        Ok(())
    }

    /// All tokens, oldest first.
    pub async fn tokens(&self) -> Result<Vec<TokenView>, DbError> {
        Ok(sqlx::query_as!(
            TokenView,
            "SELECT id, name, role, scope, created_at, expires_at, revoked_at FROM api_tokens ORDER BY created_at, id"
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// Revokes a token: servers stop accepting it within seconds, and what acts in its name ends with it: schedules, and deployments that
    /// wait for their turn.
    pub async fn revoke_token(&self, id: &str, by: &Caller) -> Result<Revoked, DbError> {
        let mut tx = self.pool.begin().await?;
        let name = sqlx::query_scalar!(
            "UPDATE api_tokens SET revoked_at = now() WHERE id = $1 AND revoked_at IS NULL RETURNING name",
            id
        );
        if let Some(name) = name.fetch_optional(&mut *tx).await? {
            let schedules = stop(&mut tx, Which::Token(id), &Ended::TokenRevoked(id.to_owned()), by).await?;
            let deployments = cancel_queued(&mut tx, "token", &name, Some(id), &schedules).await?;
            let details = json!({"name": name, "schedules": schedules, "deployments": deployments});
            let (action, target) = (Action::RevokeToken, Some(id));
            audit::record(&mut tx, &Entry { by, action, target, repository: None, refused: None, details }).await?;
            tx.commit().await?;
            self.tell_ended(&deployments).await;
            return Ok(Revoked::Now);
        }
        let known =
            sqlx::query_scalar!("SELECT id FROM api_tokens WHERE id = $1", id).fetch_optional(&self.pool).await?;
        Ok(known.map_or(Revoked::Unknown, |_| Revoked::Before))
    }

    /// Whether there is a token with which somebody can use the API now.
    pub async fn has_usable_token(&self) -> Result<bool, DbError> {
        Ok(sqlx::query_scalar!(
            "SELECT EXISTS (SELECT FROM api_tokens WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())) AS \"any!\""
        )
        .fetch_one(&self.pool)
        .await?)
    }

    /// Whose the tokens with these hashes are; those that are not accepted are left out.
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
                    kind: Kind::Token(row.id),
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
