//! Statements that connecting and renewing share: they replace the credentials of an existing connection.

use secrecy::SecretString;
use sqlx::PgConnection;

use super::CredentialColumns;
use crate::db::encryption::GITHUB;
use crate::db::{Db, DbError};
use crate::domain::connection::{AwsCredentials, TargetRoleRequest};
use crate::domain::keyring::RowKey;

/// The row of a connection to a source repository that is renewed.
#[derive(Clone, Debug)]
pub struct GithubRow {
    /// Connection id.
    pub id: String,
    /// Id of the key that encrypts the data key.
    pub key_id: String,
    /// Encrypted data key.
    pub wrapped_key: Vec<u8>,
}

/// New credentials of a connection to an AWS account.
#[derive(Clone, Copy, Debug)]
pub struct NewAws<'a> {
    /// Access keys or a role.
    pub credentials: &'a AwsCredentials,
    /// AWS principal that the credentials belong to.
    pub identity: &'a str,
    /// New role for the target of the account's rules.
    pub target_role: &'a TargetRoleRequest,
}

impl Db {
    /// Returns the data key that encrypts a renewed token: the row's present key, because build secrets are encrypted with it too.
    pub async fn key_of_github(&self, row: &GithubRow) -> Result<RowKey, DbError> {
        Ok(self.keyring()?.row_key(GITHUB, &row.id, &row.key_id, &row.wrapped_key).await?)
    }
}

/// Stores the role for the target of a connection's rules, and returns the number of rows: 0 when the connection was removed.
pub async fn set_target_role(connection: &mut PgConnection, id: &str, role_arn: &str) -> Result<u64, DbError> {
    let done = sqlx::query!(
        "UPDATE aws_connections SET rule_target_role_arn = $2 WHERE id = $1 AND removed_at IS NULL",
        id,
        role_arn
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// Updates the token within the caller's transaction and returns the number of rows: 0 when the row was deleted since it was read.
/// Rotation may have re-wrapped the data key: it is the same key, and stays unchanged.
pub async fn update_github(
    connection: &mut PgConnection,
    row: &GithubRow,
    key: &RowKey,
    token: &SecretString,
) -> Result<u64, DbError> {
    let done = sqlx::query!(
        "UPDATE github_connections
         SET token_encrypted = $2,
             renewed_at = greatest(clock_timestamp(),
                                   (SELECT max(coalesce(renewed_at, created_at)) + interval '1 microsecond' FROM github_connections))
         WHERE id = $1 AND removed_at IS NULL",
        row.id,
        key.encrypt("token", token)?
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// Updates credentials as [`update_github`] does, with a new data key: no other secret is encrypted with the old one. Returns 0 also when another row
/// has the identity.
pub async fn update_aws(
    connection: &mut PgConnection,
    id: &str,
    key: &RowKey,
    new: NewAws<'_>,
) -> Result<u64, DbError> {
    let columns = CredentialColumns::of(key, new.credentials)?;
    let done = sqlx::query!(
        "UPDATE aws_connections
         SET access_key_id = $2, role_arn = $3, key_id = $4, wrapped_key = $5, secret_access_key_encrypted = $6, session_token_encrypted = $7,
             external_id_encrypted = $8, identity = $9,
             rule_target_role_arn = CASE WHEN $10 THEN $11 ELSE rule_target_role_arn END,
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
        *new.target_role != TargetRoleRequest::Keep,
        match new.target_role {
            TargetRoleRequest::Set(role) => Some(role.as_str()),
            TargetRoleRequest::Keep | TargetRoleRequest::Remove => None,
        }
    )
    .execute(connection)
    .await;
    match done {
        Ok(done) => Ok(done.rows_affected()),
        Err(sqlx::Error::Database(error)) if error.is_unique_violation() => Ok(0),
        Err(error) => Err(error.into()),
    }
}
