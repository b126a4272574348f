//! Encryption of secrets in the tables: decrypts a row's secrets and re-wraps data keys.

use secrecy::SecretString;

use super::installation::{INSTALLATION, ROW};
use super::{Db, DbError};
use crate::domain::keyring::{KeyError, Keyring, RowKey};

/// Table of connections to source repositories.
pub(super) const GITHUB: &str = "github_connections";

/// Table of connections to AWS accounts.
pub(super) const AWS: &str = "aws_connections";

/// Table of the receivers of events.
pub(super) const RECEIVERS: &str = "receivers";

/// Table of the receivers of GitHub's push events.
pub(super) const PUSH_HOOKS: &str = "push_hooks";

/// Table of Apps that GitHub created from a manifest.
pub(super) const GITHUB_APPS: &str = "github_apps";

/// Decrypts the secrets of one row.
pub(super) struct RowDecryptor(Option<RowKey>);

impl RowDecryptor {
    /// Returns the secret of a column; none when the column is null.
    pub(super) fn secret(&self, column: &str, encrypted: Option<Vec<u8>>) -> Result<Option<SecretString>, DbError> {
        match (encrypted, &self.0) {
            (Some(encrypted), Some(key)) => Ok(Some(key.decrypt(column, &encrypted)?)),
            (Some(_), None) => {
                Err(DbError::Corrupt(format!("column {column} is encrypted, but its row has no data key")))
            }
            (None, _) => Ok(None),
        }
    }
}

impl Db {
    /// Returns the keyring.
    ///
    /// # Errors
    /// [`KeyError::None`] when the server has no keys.
    pub(super) fn keyring(&self) -> Result<&Keyring, KeyError> {
        self.keyring.as_deref().ok_or(KeyError::None)
    }

    /// Encrypts and decrypts a test value with the current key, as the first connection will.
    ///
    /// # Errors
    /// [`KeyError`] when the key or its key service cannot be used.
    pub async fn check_keys(&self) -> Result<(), KeyError> {
        self.keyring()?.check().await
    }

    pub(super) async fn row_decryptor(
        &self,
        table: &str,
        row: &str,
        key_id: Option<String>,
        wrapped: Option<Vec<u8>>,
    ) -> Result<RowDecryptor, DbError> {
        let key = match (key_id, wrapped) {
            (Some(key_id), Some(wrapped)) => Some(self.keyring()?.row_key(table, row, &key_id, &wrapped).await?),
            _ => None,
        };
        Ok(RowDecryptor(key))
    }

    /// Re-wraps the data keys of all rows with the current key, one row at a time, while servers run. Returns the number of rows that were wrapped
    /// with another key.
    ///
    /// # Errors
    /// [`DbError::Key`] with the first row that cannot be unwrapped: all others are done, unless the key's service failed. The call can be repeated.
    pub async fn rewrap_keys(&self) -> Result<u64, DbError> {
        let keyring = self.keyring()?;
        let (mut count, mut broken) = (0, None);
        let rows = sqlx::query!(
            "SELECT id, key_id AS \"key_id!\", wrapped_key AS \"wrapped_key!\" FROM github_connections WHERE key_id <> $1",
            keyring.encrypting_id()
        )
        .fetch_all(&self.pool)
        .await?;
        for row in rows {
            let rewrapped = keyring.rewrap(GITHUB, &row.id, &row.key_id, &row.wrapped_key).await;
            let Some((key_id, wrapped)) = or_later(rewrapped, &mut broken)? else { continue };
            // Only the key that was read: a row that another process has re-wrapped meanwhile is done.
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
            keyring.encrypting_id()
        )
        .fetch_all(&self.pool)
        .await?;
        for row in rows {
            let rewrapped = keyring.rewrap(AWS, &row.id, &row.key_id, &row.wrapped_key).await;
            let Some((key_id, wrapped)) = or_later(rewrapped, &mut broken)? else { continue };
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
        count += self.rewrap_receivers(keyring, &mut broken).await?;
        count += self.rewrap_push_hooks(keyring, &mut broken).await?;
        count += self.rewrap_github_apps(keyring, &mut broken).await?;
        let row = sqlx::query!(
            "SELECT key_id AS \"key_id!\", wrapped_key AS \"wrapped_key!\" FROM installation WHERE key_id <> $1",
            keyring.encrypting_id()
        );
        if let Some(row) = row.fetch_optional(&self.pool).await? {
            let rewrapped = keyring.rewrap(INSTALLATION, ROW, &row.key_id, &row.wrapped_key).await;
            if let Some((key_id, wrapped)) = or_later(rewrapped, &mut broken)? {
                let done = sqlx::query!(
                    "UPDATE installation SET key_id = $1, wrapped_key = $2 WHERE wrapped_key = $3",
                    key_id,
                    wrapped,
                    row.wrapped_key
                );
                count += done.execute(&self.pool).await?.rows_affected();
            }
        }
        broken.map_or(Ok(count), |error| Err(error.into()))
    }

    async fn rewrap_push_hooks(&self, keyring: &Keyring, broken: &mut Option<KeyError>) -> Result<u64, DbError> {
        let rows = sqlx::query!(
            "SELECT id, key_id AS \"key_id!\", wrapped_key AS \"wrapped_key!\" FROM push_hooks WHERE key_id <> $1",
            keyring.encrypting_id()
        )
        .fetch_all(&self.pool)
        .await?;
        let mut count = 0;
        for row in rows {
            let rewrapped = keyring.rewrap(PUSH_HOOKS, &row.id, &row.key_id, &row.wrapped_key).await;
            let Some((key_id, wrapped)) = or_later(rewrapped, broken)? else { continue };
            let done = sqlx::query!(
                "UPDATE push_hooks SET key_id = $2, wrapped_key = $3 WHERE id = $1 AND wrapped_key = $4",
                row.id,
                key_id,
                wrapped,
                row.wrapped_key
            );
            count += done.execute(&self.pool).await?.rows_affected();
        }
        Ok(count)
    }

    async fn rewrap_github_apps(&self, keyring: &Keyring, broken: &mut Option<KeyError>) -> Result<u64, DbError> {
        let rows = sqlx::query!(
            "SELECT id, key_id AS \"key_id!\", wrapped_key AS \"wrapped_key!\" FROM github_apps WHERE key_id <> $1",
            keyring.encrypting_id()
        )
        .fetch_all(&self.pool)
        .await?;
        let mut count = 0;
        for row in rows {
            let rewrapped = keyring.rewrap(GITHUB_APPS, &row.id, &row.key_id, &row.wrapped_key).await;
            let Some((key_id, wrapped)) = or_later(rewrapped, broken)? else { continue };
            let done = sqlx::query!(
                "UPDATE github_apps SET key_id = $2, wrapped_key = $3 WHERE id = $1 AND wrapped_key = $4",
                row.id,
                key_id,
                wrapped,
                row.wrapped_key
            );
            count += done.execute(&self.pool).await?.rows_affected();
        }
        Ok(count)
    }

    async fn rewrap_receivers(&self, keyring: &Keyring, broken: &mut Option<KeyError>) -> Result<u64, DbError> {
        let rows =
            sqlx::query!("SELECT id, key_id, wrapped_key FROM receivers WHERE key_id <> $1", keyring.encrypting_id())
                .fetch_all(&self.pool)
                .await?;
        let mut count = 0;
        for row in rows {
            let rewrapped = keyring.rewrap(RECEIVERS, &row.id, &row.key_id, &row.wrapped_key).await;
            let Some((key_id, wrapped)) = or_later(rewrapped, broken)? else { continue };
            let done = sqlx::query!(
                "UPDATE receivers SET key_id = $2, wrapped_key = $3 WHERE id = $1 AND wrapped_key = $4",
                row.id,
                key_id,
                wrapped,
                row.wrapped_key
            );
            count += done.execute(&self.pool).await?.rows_affected();
        }
        Ok(count)
    }
}

/// A new wrapped key; none for a row that cannot be unwrapped, whose error is kept: one lost secret must not prevent the rotation of the others.
fn or_later<T>(rewrapped: Result<T, KeyError>, broken: &mut Option<KeyError>) -> Result<Option<T>, KeyError> {
    match rewrapped {
        Ok(new) => Ok(Some(new)),
        Err(error @ (KeyError::Unknown { .. } | KeyError::Broken(_))) => {
            broken.get_or_insert(error);
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
