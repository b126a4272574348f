//! The data key of one row.

use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};

use super::{KeyError, LocalKey};

/// The data key of one row.
pub struct RowKey {
    /// Id of the key that wraps it.
    pub key_id: String,
    /// It, wrapped: for the row.
    pub wrapped: Vec<u8>,
    place: String,
    key: LocalKey,
}

impl fmt::Debug for RowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowKey").field("place", &self.place).field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

impl RowKey {
    pub(super) fn new(place: String, key_id: String, wrapped: Vec<u8>, plain: &[u8]) -> Result<Self, KeyError> {
        match LocalKey::new(plain) {
            Some(key) => Ok(Self { key_id, wrapped, place, key }),
            None => Err(KeyError::Broken(place)),
        }
    }

    /// Seals `secret` for a column of the row.
    ///
    /// # Errors
    /// [`KeyError::Random`].
    pub fn seal(&self, column: &str, secret: &SecretString) -> Result<Vec<u8>, KeyError> {
        self.key.seal(&format!("{}/{column}", self.place), secret.expose_secret().as_bytes())
    }

    /// Opens what was sealed for a column of the row.
    ///
    /// # Errors
    /// [`KeyError::Broken`].
    pub fn open(&self, column: &str, sealed: &[u8]) -> Result<SecretString, KeyError> {
        let place = format!("{}/{column}", self.place);
        let plain = self.key.open(&place, sealed)?;
        let text = std::str::from_utf8(&plain).map_err(|_| KeyError::Broken(place))?;
        Ok(SecretString::from(text))
    }
}
