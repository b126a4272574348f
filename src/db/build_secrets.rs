//! Secrets that builds of a repository may read. They belong to a connection and are encrypted with its data key, so that key rotation covers them,
//! and deleting the connection's key makes them unreadable.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use serde_json::json;

use super::audit::{self, AuditRecord};
use super::encryption::{GITHUB, RowDecryptor};
use super::{Db, DbError};
use crate::domain::audit::Action;
use crate::domain::build_spec::MAX_SECRETS;
use crate::domain::principal::Caller;

/// A build secret as it may be shown: without its value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each field is the column of the same name, defined by its comment in the migrations")]
pub struct BuildSecretView {
    pub name: String,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// Outcome of setting a build secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetOutcome {
    /// The secret is stored.
    Now(BuildSecretView),
    /// The connection has the maximum number of secrets that a build may read.
    TooMany,
    /// The connection does not exist in the caller's scope.
    NoConnection,
}

/// Outcome of removing a build secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemoveOutcome {
    /// The secret is deleted.
    Now,
    /// The connection has no secret of that name.
    NoSecret,
    /// The connection does not exist in the caller's scope.
    NoConnection,
}

/// Column of a secret in its encryption context (AAD), so that values cannot be exchanged within the database.
fn column(name: &str) -> String {
    format!("build_secret:{name}")
}

impl Db {
    /// Lists the build secrets of a connection, by name.
    pub async fn build_secrets(&self, connection: &str) -> Result<Vec<BuildSecretView>, DbError> {
        Ok(sqlx::query_as!(
            BuildSecretView,
            "SELECT name, created_at, updated_at FROM github_build_secrets WHERE connection_id = $1 ORDER BY name",
            connection
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// Reports that a connection to a source repository exists in the caller's scope.
    pub async fn is_github_connection_of(&self, id: &str, by: &Caller) -> Result<bool, DbError> {
        let found = sqlx::query_scalar!(
            "SELECT id FROM github_connections WHERE id = $1 AND removed_at IS NULL AND in_scope(owner, repo, $2)",
            id,
            by.scope().sql()
        );
        Ok(found.fetch_optional(&self.pool).await?.is_some())
    }

    /// Stores a build secret under `name`, in place of the present one.
    pub async fn set_build_secret(
        &self,
        connection: &str,
        name: &str,
        value: &SecretString,
        by: &Caller,
    ) -> Result<SetOutcome, DbError> {
        // Done before the transaction, because a key service may be called. Rotation re-wraps the same data key; it does not change it.
        let row = sqlx::query!(
            "SELECT key_id AS \"key_id!\", wrapped_key AS \"wrapped_key!\" FROM github_connections
             WHERE id = $1 AND removed_at IS NULL AND wrapped_key IS NOT NULL AND in_scope(owner, repo, $2)",
            connection,
            by.scope().sql()
        )
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(SetOutcome::NoConnection) };
        let key = self.keyring()?.row_key(GITHUB, connection, &row.key_id, &row.wrapped_key).await?;
        let encrypted = key.encrypt(&column(name), value)?;
        let mut tx = self.pool.begin().await?;
        // A deletion of the connection waits for this transaction, and then deletes the new secret too.
        let held = sqlx::query!(
            "SELECT owner, repo FROM github_connections WHERE id = $1 AND removed_at IS NULL FOR NO KEY UPDATE",
            connection
        )
        .fetch_optional(&mut *tx)
        .await?;
        let Some(held) = held else { return Ok(SetOutcome::NoConnection) };
        let others = sqlx::query_scalar!(
            "SELECT count(*) AS \"count!\" FROM github_build_secrets WHERE connection_id = $1 AND name <> $2",
            connection,
            name
        )
        .fetch_one(&mut *tx)
        .await?;
        if usize::try_from(others).unwrap_or(usize::MAX) >= MAX_SECRETS {
            return Ok(SetOutcome::TooMany);
        }
        let set = sqlx::query_as!(
            BuildSecretView,
            "INSERT INTO github_build_secrets AS s (connection_id, name, value_sealed) VALUES ($1, $2, $3)
             ON CONFLICT (connection_id, name) DO UPDATE SET value_sealed = excluded.value_sealed, updated_at = now()
             RETURNING name, created_at, updated_at",
            connection,
            name,
            encrypted
        )
        .fetch_one(&mut *tx)
        .await?;
        let entry = AuditRecord {
            by,
            action: Action::SetBuildSecret,
            target: Some(connection),
            repository: Some((&held.owner, &held.repo)),
            refused: None,
            details: json!({"name": name}),
        };
        audit::record(&mut tx, &entry).await?;
        tx.commit().await?;
        Ok(SetOutcome::Now(set))
    }

    /// Removes a build secret and records the removal in the audit log.
    pub async fn remove_build_secret(
        &self,
        connection: &str,
        name: &str,
        by: &Caller,
    ) -> Result<RemoveOutcome, DbError> {
        let mut tx = self.pool.begin().await?;
        let held = sqlx::query!(
            "SELECT owner, repo FROM github_connections
             WHERE id = $1 AND removed_at IS NULL AND in_scope(owner, repo, $2) FOR NO KEY UPDATE",
            connection,
            by.scope().sql()
        )
        .fetch_optional(&mut *tx)
        .await?;
        let Some(held) = held else { return Ok(RemoveOutcome::NoConnection) };
        let gone =
            sqlx::query!("DELETE FROM github_build_secrets WHERE connection_id = $1 AND name = $2", connection, name)
                .execute(&mut *tx)
                .await?;
        if gone.rows_affected() == 0 {
            return Ok(RemoveOutcome::NoSecret);
        }
        let entry = AuditRecord {
            by,
            action: Action::RemoveBuildSecret,
            target: Some(connection),
            repository: Some((&held.owner, &held.repo)),
            refused: None,
            details: json!({"name": name}),
        };
        audit::record(&mut tx, &entry).await?;
        tx.commit().await?;
        Ok(RemoveOutcome::Now)
    }

    /// Loads the encrypted build secrets of these connections.
    pub(super) async fn encrypted_build_secrets(&self, ids: &[String]) -> Result<EncryptedBuildSecrets, DbError> {
        let rows = sqlx::query!(
            "SELECT connection_id, name, value_sealed FROM github_build_secrets WHERE connection_id = ANY ($1)",
            ids
        )
        .fetch_all(&self.pool)
        .await?;
        let mut found = EncryptedBuildSecrets::default();
        for row in rows {
            found.0.entry(row.connection_id).or_default().push((row.name, row.value_sealed));
        }
        Ok(found)
    }
}

/// Encrypted build secrets by connection id.
#[derive(Default)]
pub(super) struct EncryptedBuildSecrets(HashMap<String, Vec<(String, Vec<u8>)>>);

impl EncryptedBuildSecrets {
    /// Takes the secrets of one connection out.
    pub(super) fn of(&mut self, connection: &str) -> Vec<(String, Vec<u8>)> {
        self.0.remove(connection).unwrap_or_default()
    }
}

/// Decrypts the secrets of one connection.
pub(super) fn decrypt(
    encrypted: Vec<(String, Vec<u8>)>,
    connection: &str,
    decryptor: &RowDecryptor,
) -> Result<BTreeMap<String, SecretString>, DbError> {
    let decrypted = encrypted.into_iter().map(|(name, value)| {
        let secret = decryptor.secret(&column(&name), None, Some(value))?;
        let missing = || DbError::Corrupt(format!("{GITHUB} {connection} has no value of build secret {name}"));
        let secret = secret.ok_or_else(missing)?;
        Ok((name, secret))
    });
    decrypted.collect()
}
