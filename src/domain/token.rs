//! Secrets that we make for others to sign in with: API tokens, sessions, tickets. Only their hashes are stored. Plain ones: there is no dictionary
//! of 32 random bytes, unlike of what people choose, whose hashes are keyed (`db/idempotency`).

use std::fmt;

use aws_lc_rs::{constant_time, hmac, rand};
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};

use super::keyring::KeyError;

/// How an API token begins: by it, scanners of repositories and logs find one that was left there.
pub const PREFIX: &str = "panda_";

/// Bytes of randomness: with so many, a plain hash is as good as a slow one.
const RANDOM_BYTES: usize = 32;

/// SHA-256 of a secret: what is stored, and looked for.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SecretHash([u8; 32]);

impl SecretHash {
    /// Of a secret as it came.
    pub fn of(secret: &str) -> Self {
        Self(Sha256::digest(secret.as_bytes()).into())
    }

    /// Of a digest that was made elsewhere.
    pub(super) fn from_digest(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// Tells one secret from another without being what any of them is looked up by: kept with what was done by the secret's bearer.
    #[must_use]
    pub fn fingerprint(&self) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0);
        let tag = hmac::sign(&key, b"panda: fingerprint of a secret, version 1");
        let mut digest = [0; 32];
        digest.copy_from_slice(tag.as_ref());
        Self(digest)
    }

    /// From the database; none when it is not one.
    pub fn from_sql(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// For the database.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Compares in a time that does not tell how much is equal.
    pub fn is(&self, other: &Self) -> bool {
        constant_time::verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

/// A hash of a secret is not shown either: it is what the database is asked for.
impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash(…)")
    }
}

/// A new API token: `panda_` and 64 hex digits.
///
/// # Errors
/// [`KeyError::Random`].
pub fn api_token() -> Result<SecretString, KeyError> {
    secret(PREFIX)
}

/// A new value of a session's cookie.
///
/// # Errors
/// [`KeyError::Random`].
pub fn session() -> Result<SecretString, KeyError> {
    secret("pandas_")
}

/// A new ticket for a stream.
///
/// # Errors
/// [`KeyError::Random`].
pub fn ticket() -> Result<SecretString, KeyError> {
    secret("pandat_")
}

/// A new secret of an installation, which is shown to none.
///
/// # Errors
/// [`KeyError::Random`].
pub fn random() -> Result<SecretString, KeyError> {
    secret("")
}

fn secret(prefix: &str) -> Result<SecretString, KeyError> {
    let mut bytes = Zeroizing::new([0_u8; RANDOM_BYTES]);
    rand::fill(bytes.as_mut()).map_err(|_| KeyError::Random)?;
    let digits = Zeroizing::new(hex::encode(&bytes[..]));
    Ok(SecretString::from(format!("{prefix}{}", digits.as_str())))
}

/// The hash of a secret of ours.
pub fn hash(secret: &SecretString) -> SecretHash {
    SecretHash::of(secret.expose_secret())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_differ_say_what_they_are_and_are_never_shown() {
        let (a, b) = (api_token().unwrap(), api_token().unwrap());
        assert!(a.expose_secret().starts_with(PREFIX) && a.expose_secret().len() == PREFIX.len() + 64);
        assert!(!hash(&a).is(&hash(&b)) && hash(&a).is(&hash(&a)));
        let digits = &a.expose_secret()[PREFIX.len()..];
        assert!(!format!("{a:?} {:?}", hash(&a)).contains(digits));
        assert_eq!(SecretHash::from_sql(hash(&a).bytes()), Some(hash(&a)));
        assert_eq!(SecretHash::from_sql(b"short"), None);
        let fingerprint = hash(&a).fingerprint();
        assert!(
            fingerprint != hash(&a) && fingerprint == hash(&a).fingerprint() && fingerprint != hash(&b).fingerprint()
        );
    }
}
