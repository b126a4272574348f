//! Data key of one row, which encrypts the row's secret columns.

use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};

use super::{KeyError, LocalKey};

/// Data key of one row, which encrypts the row's secret columns.
pub struct RowKey {
    /// Id of the key-encryption key that wraps the data key.
    pub key_id: String,
    /// The wrapped data key, to be stored in the row.
    pub wrapped: Vec<u8>,
    /// Table and row, as `table/row`.
    row: String,
    key: LocalKey,
}

impl fmt::Debug for RowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowKey").field("row", &self.row).field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

impl RowKey {
    pub(super) fn new(row: String, key_id: String, wrapped: Vec<u8>, plain: &[u8]) -> Result<Self, KeyError> {
        match LocalKey::new(plain) {
            Some(key) => Ok(Self { key_id, wrapped, row, key }),
            None => Err(KeyError::Broken(row)),
        }
    }

    /// Encrypts `secret` for a column of the row. The result can be decrypted for the same column only.
    ///
    /// # Errors
    /// [`KeyError::Random`].
    pub fn encrypt(&self, column: &str, secret: &SecretString) -> Result<Vec<u8>, KeyError> {
        self.key.encrypt(&format!("{}/{column}", self.row), secret.expose_secret().as_bytes())
    }

    /// Decrypts a value of a column of the row.
    ///
    /// # Errors
    /// [`KeyError::Broken`].
    pub fn decrypt(&self, column: &str, encrypted: &[u8]) -> Result<SecretString, KeyError> {
        let context = format!("{}/{column}", self.row);
        let plain = self.key.decrypt(&context, encrypted)?;
        let text = std::str::from_utf8(&plain).map_err(|_| KeyError::Broken(context))?;
        Ok(SecretString::from(text))
    }
}
