//! Secrets in the tables: opening a row's, sealing those from before there was a key, wrapping data keys anew.

use secrecy::SecretString;

use super::installation::{INSTALLATION, ROW};
use super::{Db, DbError};
use crate::domain::keyring::{KeyError, Keyring, RowKey};

/// The table of connections to source repositories.
pub(super) const GITHUB: &str = "github_connections";

/// The table of connections to AWS accounts.
pub(super) const AWS: &str = "aws_connections";

/// Rows that one transaction works on.
const BATCH: i64 = 100;

/// A row's way to its secrets.
pub(super) struct Sealed(Option<RowKey>);

impl Sealed {
    /// The secret of a column: sealed, or in the clear from before there was a key.
    pub(super) fn secret(
        &self,
        column: &str,
        clear: Option<String>,
        sealed: Option<Vec<u8>>,
    ) -> Result<Option<SecretString>, DbError> {
        match (sealed, &self.0) {
            (Some(sealed), Some(key)) => Ok(Some(key.open(column, &sealed)?)),
            (Some(_), None) => Err(DbError::Corrupt(format!("column {column} is sealed without a key"))),
            (None, _) => Ok(clear.map(SecretString::from)),
        }
    }
}

impl Db {
    /// What seals.
    pub(super) fn keyring(&self) -> Result<&Keyring, KeyError> {
        self.keyring.as_deref().ok_or(KeyError::None)
    }

    /// Seals and opens something with the key that seals now, as the first connection will.
    ///
    /// # Errors
    /// [`KeyError`].
    pub async fn check_keys(&self) -> Result<(), KeyError> {
        self.keyring()?.check().await
    }

    pub(super) async fn sealed(
        &self,
        table: &str,
        row: &str,
        key_id: Option<String>,
        wrapped: Option<Vec<u8>>,
    ) -> Result<Sealed, DbError> {
        let key = match (key_id, wrapped) {
            (Some(key_id), Some(wrapped)) => Some(self.keyring()?.row_key(table, row, &key_id, &wrapped).await?),
            _ => None,
        };
        Ok(Sealed(key))
    }

    /// Seals what is stored in the clear; how many rows. Safe while others do the same: a row is changed only as it was read, because no
    /// lock may be held while a key service is asked.
    pub async fn seal_clear_secrets(&self) -> Result<u64, DbError> {
        let keyring = self.keyring()?;
        let mut count = 0;
        loop {
            let rows = sqlx::query!(
                "SELECT id, token AS \"token!\" FROM github_connections WHERE token IS NOT NULL LIMIT $1",
                BATCH
            )
            .fetch_all(&self.pool)
            .await?;
            if rows.is_empty() {
                break;
            }
            for row in rows {
                let key = keyring.new_row_key(GITHUB, &row.id).await?;
                let done = sqlx::query!(
                    "UPDATE github_connections SET token = NULL, key_id = $2, wrapped_key = $3, token_sealed = $4
                     WHERE id = $1 AND token = $5",
                    row.id,
                    key.key_id,
                    key.wrapped,
                    key.seal("token", &SecretString::from(row.token.as_str()))?,
                    row.token
                )
                .execute(&self.pool)
                .await?;
                count += done.rows_affected();
            }
        }
        loop {
            let rows = sqlx::query!(
                "SELECT id, secret_access_key, session_token, external_id FROM aws_connections
                 WHERE num_nonnulls(secret_access_key, session_token, external_id) > 0 LIMIT $1",
                BATCH
            )
            .fetch_all(&self.pool)
            .await?;
            if rows.is_empty() {
                break;
            }
            for row in rows {
                let key = keyring.new_row_key(AWS, &row.id).await?;
                let seal = |column, secret: Option<&str>| {
                    secret.map(|secret| key.seal(column, &SecretString::from(secret))).transpose()
                };
                let done = sqlx::query!(
                    "UPDATE aws_connections
                     SET secret_access_key = NULL, session_token = NULL, external_id = NULL, key_id = $2, wrapped_key = $3,
                         secret_access_key_sealed = $4, session_token_sealed = $5, external_id_sealed = $6
                     WHERE id = $1 AND (secret_access_key, session_token, external_id) IS NOT DISTINCT FROM ($7::text, $8::text, $9::text)",
                    row.id,
                    key.key_id,
                    key.wrapped,
                    seal("secret_access_key", row.secret_access_key.as_deref())?,
                    seal("session_token", row.session_token.as_deref())?,
                    seal("external_id", row.external_id.as_deref())?,
                    row.secret_access_key,
                    row.session_token,
                    row.external_id,
                )
                .execute(&self.pool)
                .await?;
                count += done.rows_affected();
            }
        }
        Ok(count)
    }

    /// Wraps the data keys of all rows with the key that seals now, a row at a time, while servers run; how many were wrapped with
    /// another one.
    ///
    /// # Errors
    /// [`DbError::Key`] at the first row that does not open: those before it are done, and it can be called again.
    pub async fn rewrap_keys(&self) -> Result<u64, DbError> {
        let keyring = self.keyring()?;
        let mut count = 0;
        let rows = sqlx::query!(
            "SELECT id, key_id AS \"key_id!\", wrapped_key AS \"wrapped_key!\" FROM github_connections WHERE key_id <> $1",
            keyring.sealing_id()
        )
        .fetch_all(&self.pool)
        .await?;
        for row in rows {
            let (key_id, wrapped) = keyring.rewrap(GITHUB, &row.id, &row.key_id, &row.wrapped_key).await?;
            // Only what was read: a row that somebody else has rewrapped meanwhile is done.
            let done = sqlx::query!(
                "UPDATE github_connections SET key_id = $2, wrapped_key = $3 WHERE id = $1 AND wrapped_key = $4",
                row.id,
                key_id,
                wrapped,
                row.wrapped_key
            )
            .execute(&self.pool)
            .await?;
            count += done.rows_affected();
        }
        let rows = sqlx::query!(
            "SELECT id, key_id AS \"key_id!\", wrapped_key AS \"wrapped_key!\" FROM aws_connections WHERE key_id <> $1",
            keyring.sealing_id()
        )
        .fetch_all(&self.pool)
        .await?;
        for row in rows {
            let (key_id, wrapped) = keyring.rewrap(AWS, &row.id, &row.key_id, &row.wrapped_key).await?;
            let done = sqlx::query!(
                "UPDATE aws_connections SET key_id = $2, wrapped_key = $3 WHERE id = $1 AND wrapped_key = $4",
                row.id,
                key_id,
                wrapped,
                row.wrapped_key
            )
            .execute(&self.pool)
            .await?;
            count += done.rows_affected();
        }
        let row = sqlx::query!(
            "SELECT key_id AS \"key_id!\", wrapped_key AS \"wrapped_key!\" FROM installation WHERE key_id <> $1",
            keyring.sealing_id()
        );
        if let Some(row) = row.fetch_optional(&self.pool).await? {
            let (key_id, wrapped) = keyring.rewrap(INSTALLATION, ROW, &row.key_id, &row.wrapped_key).await?;
            let done = sqlx::query!(
                "UPDATE installation SET key_id = $1, wrapped_key = $2 WHERE wrapped_key = $3",
                key_id,
                wrapped,
                row.wrapped_key
            );
            count += done.execute(&self.pool).await?.rows_affected();
        }
        Ok(count)
    }
}
