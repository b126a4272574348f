//! Secrets that Panda generates for sign-in: API tokens, sessions, tickets. Only their hashes are stored. The hashes are unkeyed, because
//! there is no dictionary of 32 random bytes. Hashes of values that people choose are keyed (`db/idempotency`).

use std::fmt;

use aws_lc_rs::{constant_time, hmac, rand};
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};

use super::keyring::KeyError;

/// Prefix of API tokens, by which secret scanners find tokens leaked into repositories and logs.
pub const PREFIX: &str = "panda_";

/// Prefix of the values of session cookies.
pub const SESSION_PREFIX: &str = "pandas_";

/// Prefix of tickets, by which they are found in the logs of proxies.
pub const TICKET_PREFIX: &str = "pandat_";

/// Random part of a secret, in bytes. With this many, a fast hash is as secure as a slow one.
const RANDOM_BYTES: usize = 32;

/// SHA-256 hash of a secret, which is stored and looked up instead of the secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SecretHash([u8; 32]);

impl SecretHash {
    /// Hashes a secret as received.
    pub fn of(secret: &str) -> Self {
        Self(Sha256::digest(secret.as_bytes()).into())
    }

    /// Wraps an existing SHA-256 digest.
    pub(super) fn from_digest(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// Returns a value that distinguishes secrets but cannot be used to look one up. It is stored with actions of the secret's bearer.
    #[must_use]
    pub fn fingerprint(&self) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0);
        let tag = hmac::sign(&key, b"panda: fingerprint of a secret, version 1");
        let mut digest = [0; 32];
        digest.copy_from_slice(tag.as_ref());
        Self(digest)
    }

    /// Converts from the database's form; none unless there are 32 bytes.
    pub fn from_sql(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// Returns the 32 bytes for the database.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Compares in constant time.
    pub fn is(&self, other: &Self) -> bool {
        constant_time::verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

/// Hides the hash too, because a hash is enough to look up the secret's row.
impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash(…)")
    }
}

/// Generates an API token: `panda_` and 64 hexadecimal digits.
///
/// # Errors
/// [`KeyError::Random`].
pub fn api_token() -> Result<SecretString, KeyError> {
    secret(PREFIX)
}

/// Generates the value of a session cookie.
///
/// # Errors
/// [`KeyError::Random`].
pub fn session() -> Result<SecretString, KeyError> {
    secret(SESSION_PREFIX)
}

/// Generates a ticket that opens one event stream.
///
/// # Errors
/// [`KeyError::Random`].
pub fn ticket() -> Result<SecretString, KeyError> {
    secret(TICKET_PREFIX)
}

/// Generates a secret of the installation, which never leaves the server.
///
/// # Errors
/// [`KeyError::Random`].
pub fn random() -> Result<SecretString, KeyError> {
    secret("")
}

/// Returns true when `text` has the form of the secrets with this prefix. Other texts are rejected without a look-up.
pub fn has_form(prefix: &str, text: &str) -> bool {
    text.strip_prefix(prefix).is_some_and(|digits| {
        digits.len() == 2 * RANDOM_BYTES && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

fn secret(prefix: &str) -> Result<SecretString, KeyError> {
    let mut bytes = Zeroizing::new([0_u8; RANDOM_BYTES]);
    rand::fill(bytes.as_mut()).map_err(|_| KeyError::Random)?;
    let digits = Zeroizing::new(hex::encode(&bytes[..]));
    Ok(SecretString::from(format!("{prefix}{}", digits.as_str())))
}

/// Hashes a secret that Panda generated.
pub fn hash(secret: &SecretString) -> SecretHash {
    SecretHash::of(secret.expose_secret())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_unique_prefixed_and_hidden() {
        let (a, b) = (api_token().unwrap(), api_token().unwrap());
        assert!(a.expose_secret().starts_with(PREFIX) && a.expose_secret().len() == PREFIX.len() + 64);
        let (session, ticket) = (session().unwrap(), ticket().unwrap());
        for (prefix, secret) in [(PREFIX, &a), (SESSION_PREFIX, &session), (TICKET_PREFIX, &ticket)] {
            assert!(has_form(prefix, secret.expose_secret()));
        }
        for other in ["", "panda_", "panda_0", session.expose_secret(), &a.expose_secret().to_uppercase()] {
            assert!(!has_form(PREFIX, other));
        }
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
