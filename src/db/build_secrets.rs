//! Secrets that builds of a repository may read. They belong to a connection and are encrypted with its data key, so that key rotation covers them,
//! and deleting the connection's key makes them unreadable.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use sqlx::PgConnection;

use super::encryption::{GITHUB, RowDecryptor};
use super::{Db, DbError};
use crate::domain::principal::Scope;

/// A build secret as it may be shown: without its value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each field is the column of the same name, defined by its comment in the migrations")]
pub struct BuildSecretView {
    pub name: String,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
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

    /// Lists the names of the build secrets of several connections, each with the connection's id, by name.
    pub async fn build_secret_names(&self, connections: &[String]) -> Result<Vec<(String, BuildSecretView)>, DbError> {
        let rows = sqlx::query!(
            "SELECT connection_id, name, created_at, updated_at FROM github_build_secrets WHERE connection_id = ANY ($1) ORDER BY name",
            connections
        )
        .fetch_all(&self.pool)
        .await?;
        let view = |name, created_at, updated_at| BuildSecretView { name, created_at, updated_at };
        Ok(rows.into_iter().map(|row| (row.connection_id, view(row.name, row.created_at, row.updated_at))).collect())
    }

    /// Reports that a connection to a source repository exists in the scope.
    pub async fn is_github_connection_of(&self, id: &str, scope: &Scope) -> Result<bool, DbError> {
        let found = sqlx::query_scalar!(
            "SELECT id FROM github_connections WHERE id = $1 AND removed_at IS NULL AND in_scope(owner, repo, $2)",
            id,
            scope.sql()
        );
        Ok(found.fetch_optional(&self.pool).await?.is_some())
    }

    /// Encrypts the value of a build secret with the data key of its connection; none when the scope has no such connection. Called before the
    /// transaction, because a key service may be called. Rotation re-wraps the same data key; it does not change it.
    pub async fn encrypt_build_secret(
        &self,
        connection: &str,
        name: &str,
        value: &SecretString,
        scope: &Scope,
    ) -> Result<Option<Vec<u8>>, DbError> {
        let row = sqlx::query!(
            "SELECT key_id AS \"key_id!\", wrapped_key AS \"wrapped_key!\" FROM github_connections
             WHERE id = $1 AND removed_at IS NULL AND wrapped_key IS NOT NULL AND in_scope(owner, repo, $2)",
            connection,
            scope.sql()
        )
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let key = self.keyring()?.row_key(GITHUB, connection, &row.key_id, &row.wrapped_key).await?;
        Ok(Some(key.encrypt(&column(name), value)?))
    }

    /// Loads the encrypted build secrets of these connections.
    pub(super) async fn encrypted_build_secrets(&self, ids: &[String]) -> Result<EncryptedBuildSecrets, DbError> {
        let rows = sqlx::query!(
            "SELECT connection_id, name, value_encrypted FROM github_build_secrets WHERE connection_id = ANY ($1)",
            ids
        )
        .fetch_all(&self.pool)
        .await?;
        let mut found = EncryptedBuildSecrets::default();
        for row in rows {
            found.0.entry(row.connection_id).or_default().push((row.name, row.value_encrypted));
        }
        Ok(found)
    }
}

/// Locks a connection to a source repository, and returns owner and name of the repository. A deletion of the connection waits for the caller's
/// transaction, and then deletes a new secret too.
pub async fn lock(connection: &mut PgConnection, id: &str) -> Result<Option<(String, String)>, DbError> {
    let held = sqlx::query!(
        "SELECT owner, repo FROM github_connections WHERE id = $1 AND removed_at IS NULL FOR NO KEY UPDATE",
        id
    )
    .fetch_optional(connection)
    .await?;
    Ok(held.map(|row| (row.owner, row.repo)))
}

/// Locks a connection of the scope, as [`lock`] does.
pub async fn lock_in(
    connection: &mut PgConnection,
    id: &str,
    scope: &Scope,
) -> Result<Option<(String, String)>, DbError> {
    let held = sqlx::query!(
        "SELECT owner, repo FROM github_connections
             WHERE id = $1 AND removed_at IS NULL AND in_scope(owner, repo, $2) FOR NO KEY UPDATE",
        id,
        scope.sql()
    )
    .fetch_optional(connection)
    .await?;
    Ok(held.map(|row| (row.owner, row.repo)))
}

/// Counts the build secrets of a connection besides `name`.
pub async fn count_others(connection: &mut PgConnection, id: &str, name: &str) -> Result<usize, DbError> {
    let others = sqlx::query_scalar!(
        "SELECT count(*) AS \"count!\" FROM github_build_secrets WHERE connection_id = $1 AND name <> $2",
        id,
        name
    )
    .fetch_one(connection)
    .await?;
    Ok(usize::try_from(others).unwrap_or(usize::MAX))
}

/// Stores a build secret under `name`, in place of the present one.
pub async fn upsert(
    connection: &mut PgConnection,
    id: &str,
    name: &str,
    encrypted: Vec<u8>,
) -> Result<BuildSecretView, DbError> {
    let set = sqlx::query_as!(
        BuildSecretView,
        "INSERT INTO github_build_secrets AS s (connection_id, name, value_encrypted) VALUES ($1, $2, $3)
             ON CONFLICT (connection_id, name) DO UPDATE SET value_encrypted = excluded.value_encrypted, updated_at = now()
             RETURNING name, created_at, updated_at",
        id,
        name,
        encrypted
    )
    .fetch_one(connection)
    .await?;
    Ok(set)
}

/// Deletes a build secret; false when there is none of that name.
pub async fn delete(connection: &mut PgConnection, id: &str, name: &str) -> Result<bool, DbError> {
    let gone = sqlx::query!("DELETE FROM github_build_secrets WHERE connection_id = $1 AND name = $2", id, name)
        .execute(connection)
        .await?;
    Ok(gone.rows_affected() == 1)
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
        let secret = decryptor.secret(&column(&name), Some(value))?;
        let missing = || DbError::Corrupt(format!("{GITHUB} {connection} has no value of build secret {name}"));
        let secret = secret.ok_or_else(missing)?;
        Ok((name, secret))
    });
    decrypted.collect()
}
