//! Secrets of this installation as a whole.

use aws_lc_rs::hmac;
use secrecy::{ExposeSecret as _, SecretString};

use super::{Db, DbError};
use crate::domain::principal::Scope;
use crate::domain::{tenant, token};

/// Name of the table, and of its one row in encryption contexts.
pub(super) const INSTALLATION: &str = "installation";
pub(super) const ROW: &str = "one";

pub(super) const REQUEST_SECRET: &str = "request_secret";

impl Db {
    /// Returns the secret from which the names of trust domains at builders are derived; the same for all replicas. None when the row was deleted.
    pub async fn cache_secret(&self) -> Result<Option<SecretString>, DbError> {
        let secret = sqlx::query_scalar!("SELECT cache_secret FROM installation").fetch_optional(&self.pool).await?;
        Ok(secret.map(SecretString::from))
    }

    /// Derives the external id with which roles connected by `scope` are assumed.
    ///
    /// # Errors
    /// [`DbError::Corrupt`] when the installation's row is missing: a newly generated id would differ from the id that roles require.
    pub async fn external_id(&self, scope: &Scope) -> Result<SecretString, DbError> {
        let secret =
            sqlx::query_scalar!("SELECT external_id_secret FROM installation").fetch_optional(&self.pool).await?;
        let secret = secret.map(SecretString::from).ok_or_else(|| {
            DbError::Corrupt("the table installation has no row: restore it, as external ids depend on it".to_owned())
        })?;
        Ok(tenant::external_id(&secret, scope))
    }

    /// Returns the HMAC key for request hashes; the same for all replicas, and read once by each.
    pub(super) async fn request_key(&self) -> Result<&hmac::Key, DbError> {
        self.request_key.get_or_try_init(|| self.load_request_key()).await
    }

    async fn load_request_key(&self) -> Result<hmac::Key, DbError> {
        let secret = if let Some(secret) = self.request_secret().await? {
            secret
        } else {
            self.make_request_secret().await?;
            // Another replica may have been first: the row decides.
            self.request_secret().await?.ok_or_else(|| DbError::Corrupt("installation has no secret".to_owned()))?
        };
        Ok(hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().as_bytes()))
    }

    async fn request_secret(&self) -> Result<Option<SecretString>, DbError> {
        let row = sqlx::query!("SELECT key_id, wrapped_key, request_secret_encrypted FROM installation");
        let Some(row) = row.fetch_optional(&self.pool).await? else { return Ok(None) };
        let decryptor = self.row_decryptor(INSTALLATION, ROW, row.key_id, row.wrapped_key).await?;
        decryptor.secret(REQUEST_SECRET, row.request_secret_encrypted)
    }

    async fn make_request_secret(&self) -> Result<(), DbError> {
        let key = self.keyring()?.new_row_key(INSTALLATION, ROW).await?;
        let encrypted = key.encrypt(REQUEST_SECRET, &token::random()?)?;
        sqlx::query!(
            "INSERT INTO installation AS kept (key_id, wrapped_key, request_secret_encrypted) VALUES ($1, $2, $3)
             ON CONFLICT (one) DO UPDATE
                 SET key_id = excluded.key_id, wrapped_key = excluded.wrapped_key, request_secret_encrypted = excluded.request_secret_encrypted
                 WHERE kept.request_secret_encrypted IS NULL",
            key.key_id,
            key.wrapped,
            encrypted
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}
