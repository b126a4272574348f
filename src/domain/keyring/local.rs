//! A key of the server's own list, and AES-256-GCM as all of the keyring uses it.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use secrecy::zeroize::Zeroizing;

use super::{Context, KeyError, Wrapping, WrappingKey};

/// A key that the server has in its memory.
pub struct LocalKey(RandomizedNonceKey);

impl LocalKey {
    /// None unless there are 32 bytes.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        RandomizedNonceKey::new(&AES_256_GCM, bytes).ok().map(Self)
    }

    /// Nonce, ciphertext, tag.
    pub(super) fn seal(&self, associated: &str, plain: &[u8]) -> Result<Vec<u8>, KeyError> {
        let mut text = plain.to_vec();
        let associated = Aad::from(associated.as_bytes());
        let nonce = self.0.seal_in_place_append_tag(associated, &mut text).map_err(|_| KeyError::Random)?;
        let mut sealed = nonce.as_ref().to_vec();
        sealed.extend(text);
        Ok(sealed)
    }

    pub(super) fn open(&self, associated: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let broken = || KeyError::Broken(associated.to_owned());
        let (nonce, text) = sealed.split_at_checked(NONCE_LEN).ok_or_else(broken)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| broken())?;
        let mut text = Zeroizing::new(text.to_vec());
        let associated = Aad::from(associated.as_bytes());
        let length = self.0.open_in_place(nonce, associated, &mut text).map_err(|_| broken())?.len();
        text.truncate(length);
        Ok(text)
    }
}

impl WrappingKey for LocalKey {
    fn wrap<'a>(&'a self, context: Context<'a>, data_key: &'a [u8]) -> Wrapping<'a, Vec<u8>> {
        Box::pin(async move { self.seal(&context.to_string(), data_key) })
    }

    fn unwrap<'a>(&'a self, context: Context<'a>, wrapped: &'a [u8]) -> Wrapping<'a, Zeroizing<Vec<u8>>> {
        Box::pin(async move { self.open(&context.to_string(), wrapped) })
    }
}
