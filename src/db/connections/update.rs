//! Statements that connecting and renewing share: they replace the credentials of an existing connection, and record the change.

use secrecy::SecretString;
use serde_json::Value;
use sqlx::PgConnection;

use super::CredentialColumns;
use crate::db::audit::{self, AuditRecord};
use crate::db::encryption::GITHUB;
use crate::db::{Db, DbError};
use crate::domain::audit::Action;
use crate::domain::connection::AwsCredentials;
use crate::domain::keyring::RowKey;
use crate::domain::principal::Caller;

/// The row of a connection to a source repository that is renewed.
pub(super) struct GithubRow {
    pub(super) id: String,
    pub(super) key_id: Option<String>,
    pub(super) wrapped_key: Option<Vec<u8>>,
}

/// New credentials of a connection to an AWS account.
pub(super) struct NewAws<'a> {
    pub(super) credentials: &'a AwsCredentials,
    /// AWS principal that the credentials belong to.
    pub(super) identity: &'a str,
    /// New identifier of the tenant; none leaves it unchanged.
    pub(super) tenant: Option<&'a str>,
}

impl Db {
    /// Returns the data key that encrypts a renewed token: the row's present key, because build secrets are encrypted with it too; a new key for a
    /// row from before encryption.
    pub(super) async fn key_of_github(&self, row: &GithubRow) -> Result<RowKey, DbError> {
        let keyring = self.keyring()?;
        Ok(match (&row.key_id, &row.wrapped_key) {
            (Some(key_id), Some(wrapped)) => keyring.row_key(GITHUB, &row.id, key_id, wrapped).await?,
            _ => keyring.new_row_key(GITHUB, &row.id).await?,
        })
    }
}

/// Updates the token within the caller's transaction and returns the number of rows: 0 when the row was deleted, or encrypted, since it was read.
/// Rotation may have re-wrapped the data key: it is the same key, and stays unchanged.
pub(super) async fn update_github(
    connection: &mut PgConnection,
    row: &GithubRow,
    key: &RowKey,
    token: &SecretString,
) -> Result<u64, DbError> {
    let done = sqlx::query!(
        "UPDATE github_connections
         SET token = NULL, token_sealed = $2, key_id = coalesce(key_id, $3), wrapped_key = coalesce(wrapped_key, $4),
             renewed_at = greatest(clock_timestamp(),
                                   (SELECT max(coalesce(renewed_at, created_at)) + interval '1 microsecond' FROM github_connections))
         WHERE id = $1 AND removed_at IS NULL AND (wrapped_key IS NULL) = $5",
        row.id,
        key.encrypt("token", token)?,
        key.key_id,
        key.wrapped,
        row.wrapped_key.is_none()
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// Updates credentials as [`update_github`] does, with a new data key: no other secret is encrypted with the old one. Returns 0 also when another row
/// has the identity.
pub(super) async fn update_aws(
    connection: &mut PgConnection,
    id: &str,
    key: &RowKey,
    new: NewAws<'_>,
) -> Result<u64, DbError> {
    let columns = CredentialColumns::of(key, new.credentials)?;
    let done = sqlx::query!(
        "UPDATE aws_connections
         SET access_key_id = $2, role_arn = $3, key_id = $4, wrapped_key = $5, secret_access_key_sealed = $6, session_token_sealed = $7,
             external_id_sealed = $8, secret_access_key = NULL, session_token = NULL, external_id = NULL, identity = $9,
             tenant = coalesce($10, tenant), external_id_derived = $3::text IS NOT NULL,
             renewed_at = greatest(clock_timestamp(),
                                   (SELECT max(coalesce(renewed_at, created_at)) + interval '1 microsecond' FROM aws_connections))
         WHERE id = $1 AND removed_at IS NULL AND (role_arn IS NULL) = ($3::text IS NULL)",
        id,
        columns.access_key_id,
        columns.role_arn,
        key.key_id,
        key.wrapped,
        columns.secret_access_key,
        columns.session_token,
        columns.external_id,
        new.identity,
        new.tenant
    )
    .execute(connection)
    .await;
    match done {
        Ok(done) => Ok(done.rows_affected()),
        Err(sqlx::Error::Database(error)) if error.is_unique_violation() => Ok(0),
        Err(error) => Err(error.into()),
    }
}

/// Records an action in the audit log, within the caller's transaction.
pub(super) async fn record(
    connection: &mut PgConnection,
    by: &Caller,
    action: Action,
    target: &str,
    repository: Option<(&str, &str)>,
    details: Value,
) -> Result<(), DbError> {
    audit::record(connection, &AuditRecord { by, action, target: Some(target), repository, refused: None, details })
        .await
}
