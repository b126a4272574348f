//! API tokens: created and revoked on the command line, looked up by servers. The tables contain only their hashes.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::{Db, DbError};
use crate::domain::permission_basis::Basis;
use crate::domain::principal::{AuthMethod, Principal, Role, Scope};
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

impl Db {
    /// Lists all tokens, oldest first.
    pub async fn tokens(&self) -> Result<Vec<TokenView>, DbError> {
        Ok(sqlx::query_as!(
            TokenView,
            "SELECT id, name, role, scope, created_at, expires_at, revoked_at FROM api_tokens ORDER BY created_at, id"
        )
        .fetch_all(&self.pool)
        .await?)
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
                    role: row.role.parse().map_err(DbError::corrupt)?,
                    scope: Scope::from_sql(row.scope),
                    expires_at: row.expires_at,
                    basis: Basis::Kind,
                };
                Ok(Accepted { hash, principal, left: row.left.map(seconds) })
            })
            .collect()
    }
}

/// Inserts a token; the row has only the hash of its secret.
pub async fn insert(connection: &mut PgConnection, new: &NewToken, hash: &SecretHash) -> Result<(), DbError> {
    sqlx::query!(
        "INSERT INTO api_tokens (id, name, token_hash, role, scope, expires_at) VALUES ($1, $2, $3, $4, $5, $6)",
        new.id,
        new.name,
        hash.bytes(),
        new.role.as_str(),
        new.scope.sql(),
        new.expires_at
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Revokes a token and returns its name; none when it does not exist or was revoked before.
pub async fn revoke(connection: &mut PgConnection, id: &str) -> Result<Option<String>, DbError> {
    let name = sqlx::query_scalar!(
        "UPDATE api_tokens SET revoked_at = now() WHERE id = $1 AND revoked_at IS NULL RETURNING name",
        id
    );
    Ok(name.fetch_optional(connection).await?)
}

/// Reports that a token exists, revoked or not.
pub async fn exists(connection: &mut PgConnection, id: &str) -> Result<bool, DbError> {
    let known = sqlx::query_scalar!("SELECT id FROM api_tokens WHERE id = $1", id).fetch_optional(connection).await?;
    Ok(known.is_some())
}
