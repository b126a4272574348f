//! Secrets that builds of a repository may read: of a connection, sealed with its data key. So rotation, which wraps that key again, is theirs
//! too, and without the key they are gone with the connection.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use serde_json::json;

use super::audit::{self, Entry};
use super::sealed::{GITHUB, Sealed};
use super::{Db, DbError};
use crate::domain::audit::Action;
use crate::domain::build_spec::MAX_SECRETS;
use crate::domain::principal::Caller;

/// A build secret as it may be shown: never its value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each field is the column of the same name, defined by its comment in the migrations")]
pub struct BuildSecretView {
    pub name: String,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// What became of the wish to set a build secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Set {
    /// It is stored.
    Now(BuildSecretView),
    /// The connection has as many as a build may read.
    TooMany,
    /// There is no such connection for the caller.
    NoConnection,
}

/// What became of the wish to remove a build secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unset {
    /// It is gone.
    Now,
    /// The connection has none of that name.
    NoSecret,
    /// There is no such connection for the caller.
    NoConnection,
}

/// A secret's place in its connection's row: part of what is sealed, so that values cannot be exchanged within the database.
fn column(name: &str) -> String {
    format!("build_secret:{name}")
}

impl Db {
    /// The build secrets of a connection, by name.
    pub async fn build_secrets(&self, connection: &str) -> Result<Vec<BuildSecretView>, DbError> {
        Ok(sqlx::query_as!(
            BuildSecretView,
            "SELECT name, created_at, updated_at FROM github_build_secrets WHERE connection_id = $1 ORDER BY name",
            connection
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// Whether the caller sees a connection to a source repository.
    pub async fn is_github_connection_of(&self, id: &str, by: &Caller) -> Result<bool, DbError> {
        let found = sqlx::query_scalar!(
            "SELECT id FROM github_connections WHERE id = $1 AND removed_at IS NULL AND in_scope(owner, repo, $2)",
            id,
            by.scope().sql()
        );
        Ok(found.fetch_optional(&self.pool).await?.is_some())
    }

    /// Stores a build secret under `name`, in place of the one that is there.
    pub async fn set_build_secret(
        &self,
        connection: &str,
        name: &str,
        value: &SecretString,
        by: &Caller,
    ) -> Result<Set, DbError> {
        // Before the transaction: a key service may have to be asked. Rotation wraps the same data key again; it does not change it.
        let row = sqlx::query!(
            "SELECT key_id AS \"key_id!\", wrapped_key AS \"wrapped_key!\" FROM github_connections
             WHERE id = $1 AND removed_at IS NULL AND wrapped_key IS NOT NULL AND in_scope(owner, repo, $2)",
            connection,
            by.scope().sql()
        )
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(Set::NoConnection) };
        let key = self.keyring()?.row_key(GITHUB, connection, &row.key_id, &row.wrapped_key).await?;
        let sealed = key.seal(&column(name), value)?;
        let mut tx = self.pool.begin().await?;
        // Whoever removes the connection waits for this, and takes the new secret along.
        let held = sqlx::query!(
            "SELECT owner, repo FROM github_connections WHERE id = $1 AND removed_at IS NULL FOR NO KEY UPDATE",
            connection
        )
        .fetch_optional(&mut *tx)
        .await?;
        let Some(held) = held else { return Ok(Set::NoConnection) };
        let others = sqlx::query_scalar!(
            "SELECT count(*) AS \"count!\" FROM github_build_secrets WHERE connection_id = $1 AND name <> $2",
            connection,
            name
        )
        .fetch_one(&mut *tx)
        .await?;
        if usize::try_from(others).unwrap_or(usize::MAX) >= MAX_SECRETS {
            return Ok(Set::TooMany);
        }
        let set = sqlx::query_as!(
            BuildSecretView,
            "INSERT INTO github_build_secrets AS s (connection_id, name, value_sealed) VALUES ($1, $2, $3)
             ON CONFLICT (connection_id, name) DO UPDATE SET value_sealed = excluded.value_sealed, updated_at = now()
             RETURNING name, created_at, updated_at",
            connection,
            name,
            sealed
        )
        .fetch_one(&mut *tx)
        .await?;
        let entry = Entry {
            by,
            action: Action::SetBuildSecret,
            target: Some(connection),
            repository: Some((&held.owner, &held.repo)),
            refused: None,
            details: json!({"name": name}),
        };
        audit::record(&mut tx, &entry).await?;
        tx.commit().await?;
        Ok(Set::Now(set))
    }

    /// Removes a build secret.
    pub async fn remove_build_secret(&self, connection: &str, name: &str, by: &Caller) -> Result<Unset, DbError> {
        let mut tx = self.pool.begin().await?;
        let held = sqlx::query!(
            "SELECT owner, repo FROM github_connections
             WHERE id = $1 AND removed_at IS NULL AND in_scope(owner, repo, $2) FOR NO KEY UPDATE",
            connection,
            by.scope().sql()
        )
        .fetch_optional(&mut *tx)
        .await?;
        let Some(held) = held else { return Ok(Unset::NoConnection) };
        let gone =
            sqlx::query!("DELETE FROM github_build_secrets WHERE connection_id = $1 AND name = $2", connection, name)
                .execute(&mut *tx)
                .await?;
        if gone.rows_affected() == 0 {
            return Ok(Unset::NoSecret);
        }
        let entry = Entry {
            by,
            action: Action::RemoveBuildSecret,
            target: Some(connection),
            repository: Some((&held.owner, &held.repo)),
            refused: None,
            details: json!({"name": name}),
        };
        audit::record(&mut tx, &entry).await?;
        tx.commit().await?;
        Ok(Unset::Now)
    }

    /// The sealed build secrets of these connections, by connection.
    pub(super) async fn sealed_build_secrets(&self, ids: &[String]) -> Result<SealedSecrets, DbError> {
        let rows = sqlx::query!(
            "SELECT connection_id, name, value_sealed FROM github_build_secrets WHERE connection_id = ANY ($1)",
            ids
        )
        .fetch_all(&self.pool)
        .await?;
        let mut found = SealedSecrets::default();
        for row in rows {
            found.0.entry(row.connection_id).or_default().push((row.name, row.value_sealed));
        }
        Ok(found)
    }
}

/// Build secrets as they are stored.
#[derive(Default)]
pub(super) struct SealedSecrets(HashMap<String, Vec<(String, Vec<u8>)>>);

impl SealedSecrets {
    /// Takes out those of one connection.
    pub(super) fn of(&mut self, connection: &str) -> Vec<(String, Vec<u8>)> {
        self.0.remove(connection).unwrap_or_default()
    }
}

/// Opens what [`SealedSecrets::of`] has of a connection.
pub(super) fn open(
    sealed: Vec<(String, Vec<u8>)>,
    connection: &str,
    key: &Sealed,
) -> Result<BTreeMap<String, SecretString>, DbError> {
    let opened = sealed.into_iter().map(|(name, sealed)| {
        let secret = key.secret(&column(&name), None, Some(sealed))?;
        let missing = || DbError::Corrupt(format!("{GITHUB} {connection} has no value of build secret {name}"));
        let secret = secret.ok_or_else(missing)?;
        Ok((name, secret))
    });
    opened.collect()
}
