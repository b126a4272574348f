//! Push hooks with their rules and owners. Functions over a connection are statements of a command's transaction.

pub mod deliveries;
pub mod secrets;

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use sqlx::PgConnection;
use sqlx::types::Json;

use super::schedules::permission::{PermissionRow, columns};
use super::schedules::token_of;
use super::{Db, DbError};
use crate::domain::keyring::RowKey;
use crate::domain::permission::StoredPermission;
use crate::domain::principal::Caller;
use crate::domain::push_hook::{self, PushRule};

/// A push hook as it may be shown to an admin.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "each field is the column of the same name, defined by its comment in the migrations")]
pub struct PushHookView {
    pub id: String,
    pub name: Option<String>,
    pub rules: Json<Vec<PushRule>>,
    pub repositories: Vec<String>,
    pub enabled: bool,
    pub made_by: String,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    /// Ends of the secrets that are still accepted after a rotation, the last one first.
    pub previous_secrets_until: Vec<DateTime<Utc>>,
}

/// Settings that a caller chooses.
#[derive(Clone, Debug)]
pub struct PushHookSettings {
    /// Name for people; none without one.
    pub name: Option<String>,
    /// Rules in their order; never empty.
    pub rules: Vec<PushRule>,
    /// False to ignore what is received.
    pub enabled: bool,
}

/// Selects a `PushHookView` for each existing row that matches the condition, the oldest first.
macro_rules! views {
    ($condition:literal $(, $argument:expr)*) => {
        sqlx::query_as!(
            PushHookView,
            "SELECT h.id, h.name, h.rules AS \"rules: Json<Vec<PushRule>>\", h.repositories, h.enabled, h.made_by, h.created_at, h.updated_at,
                    ARRAY (SELECT s.expires_at FROM push_hook_secrets s WHERE s.hook_id = h.id AND s.expires_at > clock_timestamp()
                           ORDER BY s.expires_at DESC) AS \"previous_secrets_until!\"
             FROM push_hooks h WHERE h.deleted_at IS NULL AND " + $condition + " ORDER BY h.created_at, h.id"
            $(, $argument)*
        )
    };
}

impl Db {
    /// Lists all push hooks, the oldest first.
    pub async fn push_hooks(&self) -> Result<Vec<PushHookView>, DbError> {
        Ok(views!("true").fetch_all(&self.pool).await?)
    }

    /// Returns a push hook as it may be shown.
    pub async fn push_hook(&self, id: &str) -> Result<Option<PushHookView>, DbError> {
        Ok(views!("h.id = $1", id).fetch_optional(&self.pool).await?)
    }
}

/// Counts the push hooks. Concurrent creations wait for each other.
pub async fn count(connection: &mut PgConnection) -> Result<i64, DbError> {
    sqlx::query!("SELECT pg_advisory_xact_lock(hashtextextended('panda push hooks', 0)) AS \"locked: _\"")
        .execute(&mut *connection)
        .await?;
    let count = sqlx::query_scalar!("SELECT count(*) AS \"count!\" FROM push_hooks WHERE deleted_at IS NULL");
    Ok(count.fetch_one(connection).await?)
}

/// Inserts a push hook of this caller with its first secret.
pub async fn insert(
    connection: &mut PgConnection,
    id: &str,
    settings: &PushHookSettings,
    (key, secret): (&RowKey, &SecretString),
    by: &Caller,
) -> Result<(), DbError> {
    let principal = &by.principal;
    let (admin, issuer, claims) = columns(principal);
    let repositories = push_hook::repositories(&settings.rules);
    let encrypted = key.encrypt(&secrets::column(1), secret)?;
    sqlx::query!(
        "WITH made AS (INSERT INTO push_hooks (id, name, rules, repositories, enabled, key_id, wrapped_key, made_by, made_by_kind, made_by_token,
                                               made_by_admin, made_by_issuer, made_by_claims, role, scope)
                       VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) RETURNING id)
         INSERT INTO push_hook_secrets (hook_id, number, value_encrypted) SELECT id, 1, $16 FROM made",
        id,
        settings.name,
        Json(&settings.rules) as _,
        repositories.sql(),
        settings.enabled,
        key.key_id,
        key.wrapped,
        principal.subject,
        principal.kind.as_str(),
        token_of(by),
        admin,
        issuer,
        claims,
        principal.role.as_str(),
        principal.scope.sql(),
        encrypted
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Returns a push hook as it may be shown, and locks its row until the end of the transaction.
pub async fn lock(connection: &mut PgConnection, id: &str) -> Result<Option<PushHookView>, DbError> {
    sqlx::query!("SELECT FROM push_hooks WHERE id = $1 FOR UPDATE", id).fetch_optional(&mut *connection).await?;
    find(connection, id).await
}

/// Returns a push hook as it may be shown, within the caller's transaction.
pub async fn find(connection: &mut PgConnection, id: &str) -> Result<Option<PushHookView>, DbError> {
    Ok(views!("h.id = $1", id).fetch_optional(connection).await?)
}

/// Returns rules and state of a push hook, which stay until the end of the transaction; none where it does not exist.
pub async fn rules(connection: &mut PgConnection, id: &str) -> Result<Option<(Vec<PushRule>, bool)>, DbError> {
    let row = sqlx::query!(
        "SELECT rules AS \"rules: Json<Vec<PushRule>>\", enabled FROM push_hooks WHERE id = $1 AND deleted_at IS NULL FOR SHARE",
        id
    );
    Ok(row.fetch_optional(connection).await?.map(|row| (row.rules.0, row.enabled)))
}

/// Replaces the settings, and makes the caller the owner.
pub async fn update(
    connection: &mut PgConnection,
    id: &str,
    settings: &PushHookSettings,
    by: &Caller,
) -> Result<(), DbError> {
    let principal = &by.principal;
    let (admin, issuer, claims) = columns(principal);
    let repositories = push_hook::repositories(&settings.rules);
    sqlx::query!(
        "UPDATE push_hooks SET name = $2, rules = $3, repositories = $4, enabled = $5, made_by = $6, made_by_kind = $7, made_by_token = $8,
                made_by_admin = $9, made_by_issuer = $10, made_by_claims = $11, role = $12, scope = $13, revision = revision + 1,
                updated_at = clock_timestamp()
         WHERE id = $1",
        id,
        settings.name,
        Json(&settings.rules) as _,
        repositories.sql(),
        settings.enabled,
        principal.subject,
        principal.kind.as_str(),
        token_of(by),
        admin,
        issuer,
        claims,
        principal.role.as_str(),
        principal.scope.sql()
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Deletes a push hook with its secrets. Its row stays for the deployments that it started.
pub async fn delete(connection: &mut PgConnection, id: &str) -> Result<(), DbError> {
    sqlx::query!(
        "WITH secrets AS (DELETE FROM push_hook_secrets WHERE hook_id = $1),
              deliveries AS (DELETE FROM push_deliveries WHERE hook_id = $1)
         UPDATE push_hooks SET deleted_at = clock_timestamp(), key_id = NULL, wrapped_key = NULL, revision = revision + 1 WHERE id = $1",
        id
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Reads the permission of a push hook's owner.
pub async fn held(connection: &mut PgConnection, id: &str) -> Result<StoredPermission, DbError> {
    let row = sqlx::query_as!(
        PermissionRow,
        "SELECT h.id, h.made_by, h.made_by_kind, h.made_by_token, h.made_by_admin, h.made_by_issuer, h.made_by_claims, h.role, h.scope,
                t.role AS \"token_role?\", t.scope AS \"token_scope?\", t.revoked_at IS NOT NULL AS token_revoked,
                t.expires_at <= clock_timestamp() AS token_expired, r.id IS NOT NULL AS \"subject_revoked!\"
         FROM push_hooks h
         LEFT JOIN api_tokens t ON h.made_by_kind = 'token' AND t.id = h.made_by_token
         LEFT JOIN revoked_subjects r ON h.made_by_kind = 'oidc' AND r.principal = h.made_by
         WHERE h.id = $1",
        id
    )
    .fetch_one(connection)
    .await?;
    row.held()
}
