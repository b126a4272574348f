//! API tokens: created and revoked on the command line, looked up by servers. The tables contain only their hashes.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::{Db, DbError, schedules};
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

/// Form in which a caller presents a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialForm {
    /// A token in a header.
    Token,
    /// The cookie of a session that may only read.
    ReadingSession,
    /// The cookie of a session of the web page's sign-in.
    PageSession,
}

/// A valid token or session.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// Hash under which the token or session was looked up.
    pub hash: SecretHash,
    /// The token that it ends with: itself, or the one that opened the session; none for a session of an issuer's subject.
    pub token: Option<SecretHash>,
    /// Token or kind of session.
    pub form: CredentialForm,
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
    /// Returns the database's time, by which tokens expire.
    pub async fn token_time(&self) -> Result<DateTime<Utc>, DbError> {
        schedules::now(&mut *self.pool.acquire().await?).await
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

    /// Lists tokens, newest first, optionally only those before a given one.
    pub async fn token_page(
        &self,
        before: Option<(DateTime<Utc>, String)>,
        limit: i64,
    ) -> Result<Vec<TokenView>, DbError> {
        let (before_at, before_id) = before.unzip();
        Ok(sqlx::query_as!(
            TokenView,
            "SELECT id, name, role, scope, created_at, expires_at, revoked_at FROM api_tokens
             WHERE $1::timestamptz IS NULL OR (created_at, id) < ($1, $2)
             ORDER BY created_at DESC, id DESC LIMIT $3",
            before_at,
            before_id,
            limit
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// Returns the token with this id.
    pub async fn token(&self, id: &str) -> Result<Option<TokenView>, DbError> {
        let mut connection = self.pool.acquire().await?;
        find(&mut connection, id).await
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
                Ok(Accepted {
                    hash,
                    token: Some(hash),
                    form: CredentialForm::Token,
                    principal,
                    left: row.left.map(seconds),
                })
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

/// Returns the token with this id.
pub async fn find(connection: &mut PgConnection, id: &str) -> Result<Option<TokenView>, DbError> {
    let token = sqlx::query_as!(
        TokenView,
        "SELECT id, name, role, scope, created_at, expires_at, revoked_at FROM api_tokens WHERE id = $1",
        id
    );
    Ok(token.fetch_optional(connection).await?)
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
