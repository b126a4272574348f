//! Check of every encrypted row: which key it uses, and whether its secrets can be decrypted. Only reads, a page of rows at a time, so that it works on a
//! standby and in bounded memory, while servers run.

use std::borrow::Cow;

use futures_util::{StreamExt as _, stream};

use super::build_secrets::decrypt;
use super::encryption::{AWS, GITHUB, GITHUB_APPS, PUSH_HOOKS, RECEIVERS};
use super::installation::{INSTALLATION, REQUEST_SECRET, ROW};
use super::{Db, DbError, github_apps, push_hooks, receivers};
use crate::domain::keyring::{KeyError, KeyUsage};

/// Rows that are read, and decrypted concurrently. A connection has at most a megabyte of build secrets.
const PAGE: i64 = 16;

/// A row with its secrets.
struct EncryptedRow {
    table: &'static str,
    id: String,
    key_id: String,
    wrapped: Vec<u8>,
    columns: Vec<(Cow<'static, str>, Option<Vec<u8>>)>,
    build_secrets: Vec<(String, Vec<u8>)>,
}

impl Db {
    /// Decrypts the secrets of every encrypted row, without keeping them. Rows of a key whose service fails are counted as unreadable after the first page.
    ///
    /// # Errors
    /// [`KeyError::None`] without keys; errors of the database. What cannot be decrypted is a finding.
    pub async fn check_rows(&self) -> Result<KeyUsage, DbError> {
        let keyring = self.keyring()?;
        let mut usage = KeyUsage::new(keyring, keyring.check().await);
        let mut after = String::new();
        loop {
            let page = self.github_page(&after).await?;
            let Some(last) = page.last().map(|row| row.id.clone()) else { break };
            after = last;
            self.check_page(page, &mut usage).await?;
        }
        after.clear();
        loop {
            let page = self.aws_page(&after).await?;
            let Some(last) = page.last().map(|row| row.id.clone()) else { break };
            after = last;
            self.check_page(page, &mut usage).await?;
        }
        after.clear();
        loop {
            let page = self.receiver_page(&after).await?;
            let Some(last) = page.last().map(|row| row.id.clone()) else { break };
            after = last;
            self.check_page(page, &mut usage).await?;
        }
        after.clear();
        loop {
            let page = self.push_hook_page(&after).await?;
            let Some(last) = page.last().map(|row| row.id.clone()) else { break };
            after = last;
            self.check_page(page, &mut usage).await?;
        }
        after.clear();
        loop {
            let page = self.github_app_page(&after).await?;
            let Some(last) = page.last().map(|row| row.id.clone()) else { break };
            after = last;
            self.check_page(page, &mut usage).await?;
        }
        let page = self.installation_row().await?;
        self.check_page(page.into_iter().collect(), &mut usage).await?;
        Ok(usage)
    }

    async fn check_page(&self, page: Vec<EncryptedRow>, usage: &mut KeyUsage) -> Result<(), DbError> {
        let concurrency = page.len().max(1);
        let found = &*usage;
        let checks = page.into_iter().map(|row| async move {
            let outcome = match found.unusable(&row.key_id) {
                Some(error) => Err(DbError::Key(error)),
                None => self.check_row(&row).await,
            };
            (format!("{}/{}", row.table, row.id), row.key_id, outcome)
        });
        let outcomes: Vec<_> = stream::iter(checks).buffered(concurrency).collect().await;
        for (row, key_id, outcome) in outcomes {
            let outcome = match outcome {
                Ok(()) => Ok(()),
                Err(DbError::Key(error)) => Err(error),
                Err(DbError::Corrupt(_)) => Err(KeyError::Broken(row.clone())),
                Err(error) => return Err(error),
            };
            usage.add(row, key_id, outcome);
        }
        Ok(())
    }

    async fn check_row(&self, row: &EncryptedRow) -> Result<(), DbError> {
        let (key_id, wrapped) = (Some(row.key_id.clone()), Some(row.wrapped.clone()));
        let decryptor = self.row_decryptor(row.table, &row.id, key_id, wrapped).await?;
        for (column, value) in &row.columns {
            decryptor.secret(column, value.clone())?;
        }
        decrypt(row.build_secrets.clone(), &row.id, &decryptor).map(drop)
    }

    async fn github_page(&self, after: &str) -> Result<Vec<EncryptedRow>, DbError> {
        let rows = sqlx::query!(
            "SELECT id, key_id AS \"key_id!\", wrapped_key AS \"wrapped_key!\", token_encrypted
             FROM github_connections WHERE key_id IS NOT NULL AND id > $1 ORDER BY id LIMIT $2",
            after,
            PAGE
        )
        .fetch_all(&self.pool)
        .await?;
        let ids: Vec<String> = rows.iter().map(|row| row.id.clone()).collect();
        let mut secrets = self.encrypted_build_secrets(&ids).await?;
        let rows = rows.into_iter().map(|row| EncryptedRow {
            table: GITHUB,
            build_secrets: secrets.of(&row.id),
            id: row.id,
            key_id: row.key_id,
            wrapped: row.wrapped_key,
            columns: vec![("token".into(), row.token_encrypted)],
        });
        Ok(rows.collect())
    }

    async fn aws_page(&self, after: &str) -> Result<Vec<EncryptedRow>, DbError> {
        let rows = sqlx::query!(
            "SELECT id, key_id AS \"key_id!\", wrapped_key AS \"wrapped_key!\",
                    secret_access_key_encrypted, session_token_encrypted, external_id_encrypted
             FROM aws_connections WHERE key_id IS NOT NULL AND id > $1 ORDER BY id LIMIT $2",
            after,
            PAGE
        )
        .fetch_all(&self.pool)
        .await?;
        let rows = rows.into_iter().map(|row| EncryptedRow {
            table: AWS,
            build_secrets: Vec::new(),
            id: row.id,
            key_id: row.key_id,
            wrapped: row.wrapped_key,
            columns: vec![
                ("secret_access_key".into(), row.secret_access_key_encrypted),
                ("session_token".into(), row.session_token_encrypted),
                ("external_id".into(), row.external_id_encrypted),
            ],
        });
        Ok(rows.collect())
    }

    async fn receiver_page(&self, after: &str) -> Result<Vec<EncryptedRow>, DbError> {
        let rows = sqlx::query!(
            "SELECT id, key_id, wrapped_key,
                    ARRAY (SELECT s.number FROM receiver_secrets s WHERE s.receiver_id = w.id ORDER BY s.number) AS \"numbers!\",
                    ARRAY (SELECT s.value_encrypted FROM receiver_secrets s WHERE s.receiver_id = w.id ORDER BY s.number) AS \"values!\"
             FROM receivers w WHERE id > $1 ORDER BY id LIMIT $2",
            after,
            PAGE
        )
        .fetch_all(&self.pool)
        .await?;
        let rows = rows.into_iter().map(|row| EncryptedRow {
            table: RECEIVERS,
            build_secrets: Vec::new(),
            id: row.id,
            key_id: row.key_id,
            wrapped: row.wrapped_key,
            columns: row
                .numbers
                .into_iter()
                .map(|number| receivers::column(number).into())
                .zip(row.values.into_iter().map(Some))
                .collect(),
        });
        Ok(rows.collect())
    }

    async fn push_hook_page(&self, after: &str) -> Result<Vec<EncryptedRow>, DbError> {
        let rows = sqlx::query!(
            "SELECT id, key_id AS \"key_id!\", wrapped_key AS \"wrapped_key!\",
                    ARRAY (SELECT s.number FROM push_hook_secrets s WHERE s.hook_id = h.id ORDER BY s.number) AS \"numbers!\",
                    ARRAY (SELECT s.value_encrypted FROM push_hook_secrets s WHERE s.hook_id = h.id ORDER BY s.number) AS \"values!\"
             FROM push_hooks h WHERE key_id IS NOT NULL AND id > $1 ORDER BY id LIMIT $2",
            after,
            PAGE
        )
        .fetch_all(&self.pool)
        .await?;
        let rows = rows.into_iter().map(|row| EncryptedRow {
            table: PUSH_HOOKS,
            build_secrets: Vec::new(),
            id: row.id,
            key_id: row.key_id,
            wrapped: row.wrapped_key,
            columns: row
                .numbers
                .into_iter()
                .map(|number| push_hooks::secrets::column(number).into())
                .zip(row.values.into_iter().map(Some))
                .collect(),
        });
        Ok(rows.collect())
    }

    async fn github_app_page(&self, after: &str) -> Result<Vec<EncryptedRow>, DbError> {
        let rows = sqlx::query!(
            "SELECT id, key_id AS \"key_id!\", wrapped_key AS \"wrapped_key!\", private_key_encrypted
             FROM github_apps WHERE key_id IS NOT NULL AND id > $1 ORDER BY id LIMIT $2",
            after,
            PAGE
        )
        .fetch_all(&self.pool)
        .await?;
        let rows = rows.into_iter().map(|row| EncryptedRow {
            table: GITHUB_APPS,
            build_secrets: Vec::new(),
            id: row.id,
            key_id: row.key_id,
            wrapped: row.wrapped_key,
            columns: vec![(github_apps::PRIVATE_KEY.into(), row.private_key_encrypted)],
        });
        Ok(rows.collect())
    }

    async fn installation_row(&self) -> Result<Option<EncryptedRow>, DbError> {
        let row = sqlx::query!(
            "SELECT key_id AS \"key_id!\", wrapped_key AS \"wrapped_key!\", request_secret_encrypted
             FROM installation WHERE key_id IS NOT NULL"
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.map(|row| EncryptedRow {
            table: INSTALLATION,
            id: ROW.to_owned(),
            key_id: row.key_id,
            wrapped: row.wrapped_key,
            columns: vec![(REQUEST_SECRET.into(), row.request_secret_encrypted)],
            build_secrets: Vec::new(),
        }))
    }
}
