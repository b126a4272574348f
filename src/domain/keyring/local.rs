//! Keys of the server's own list, and the AES-256-GCM encryption that the whole keyring uses.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use secrecy::zeroize::Zeroizing;

use super::{EncryptionContext, KeyError, Wrapping, WrappingKey};

/// AES-256-GCM key in the server's memory.
pub struct LocalKey(RandomizedNonceKey);

impl LocalKey {
    /// Creates a key from 32 bytes; none for any other length.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        RandomizedNonceKey::new(&AES_256_GCM, bytes).ok().map(Self)
    }

    /// Encrypts `plain` and returns nonce, ciphertext and tag, concatenated. `associated` is authenticated but not stored.
    pub(super) fn encrypt(&self, associated: &str, plain: &[u8]) -> Result<Vec<u8>, KeyError> {
        let mut text = plain.to_vec();
        let associated = Aad::from(associated.as_bytes());
        let nonce = self.0.seal_in_place_append_tag(associated, &mut text).map_err(|_| KeyError::Random)?;
        let mut encrypted = nonce.as_ref().to_vec();
        encrypted.extend(text);
        Ok(encrypted)
    }

    pub(super) fn decrypt(&self, associated: &str, encrypted: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let broken = || KeyError::Broken(associated.to_owned());
        let (nonce, text) = encrypted.split_at_checked(NONCE_LEN).ok_or_else(broken)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| broken())?;
        let mut text = Zeroizing::new(text.to_vec());
        let associated = Aad::from(associated.as_bytes());
        let length = self.0.open_in_place(nonce, associated, &mut text).map_err(|_| broken())?.len();
        text.truncate(length);
        Ok(text)
    }
}

impl WrappingKey for LocalKey {
    fn wrap<'a>(&'a self, context: EncryptionContext<'a>, data_key: &'a [u8]) -> Wrapping<'a, Vec<u8>> {
        Box::pin(async move { self.encrypt(&context.to_string(), data_key) })
    }

    fn unwrap<'a>(&'a self, context: EncryptionContext<'a>, wrapped: &'a [u8]) -> Wrapping<'a, Zeroizing<Vec<u8>>> {
        Box::pin(async move { self.decrypt(&context.to_string(), wrapped) })
    }
}
