//! Secrets of push hooks, and the check of GitHub's signature: HMAC-SHA-256 of the body, in the header `X-Hub-Signature-256`.

use aws_lc_rs::{hmac, rand};
use chrono::{DateTime, Utc};
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret as _, SecretString};

use crate::domain::keyring::KeyError;

/// Prefix of secrets, by which secret scanners recognise them.
const PREFIX: &str = "phs_";

/// Prefix of the header's value.
const ALGORITHM: &str = "sha256=";

/// Random part of a secret, in bytes.
const BYTES: usize = 32;

/// Length of an HMAC-SHA-256, in bytes.
const DIGEST: usize = 32;

/// A secret with which GitHub may sign, until it expires.
#[derive(Clone, Debug)]
pub struct PushSecret {
    key: hmac::Key,
    /// When its signatures are refused, by the database's clock; none for the newest secret.
    pub expires_at: Option<DateTime<Utc>>,
}

impl PushSecret {
    /// Takes the secret's text as the key, as GitHub does.
    pub fn new(secret: &SecretString, expires_at: Option<DateTime<Utc>>) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().as_bytes()), expires_at }
    }
}

/// Generates a secret.
///
/// # Errors
/// [`KeyError::Random`].
pub fn new_secret() -> Result<SecretString, KeyError> {
    let mut bytes = Zeroizing::new([0; BYTES]);
    rand::fill(bytes.as_mut_slice()).map_err(|_| KeyError::Random)?;
    let mut text = Zeroizing::new(String::with_capacity(PREFIX.len() + 2 * BYTES));
    text.push_str(PREFIX);
    for byte in bytes.iter() {
        text.extend([byte >> 4, byte & 15].map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)])));
    }
    Ok(SecretString::from(text.as_str()))
}

/// A signature as the header has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PushSignature([u8; DIGEST]);

impl PushSignature {
    /// Reads `sha256=` and 64 hexadecimal digits; none for any other text.
    pub fn parse(header: &str) -> Option<Self> {
        let digits = header.strip_prefix(ALGORITHM)?.as_bytes();
        let mut digest = [0; DIGEST];
        if digits.len() != 2 * DIGEST {
            return None;
        }
        for (byte, pair) in digest.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok().filter(|pair| !pair.contains('+'))?, 16).ok()?;
        }
        Some(Self(digest))
    }

    /// Reports that a secret which has not expired at `now` signed the body. Each comparison takes the same time for any signature.
    pub fn is_by(self, secrets: &[PushSecret], now: DateTime<Utc>, body: &[u8]) -> bool {
        let live = secrets.iter().filter(|secret| secret.expires_at.is_none_or(|end| now < end));
        live.fold(false, |found, secret| hmac::verify(&secret.key, body, &self.0).is_ok() | found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;

    /// The example of GitHub's documentation on validating deliveries.
    #[test]
    fn verifies_as_github_documents() {
        let secret = PushSecret::new(&SecretString::from("It's a Secret to Everybody"), None);
        let signed = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let signature = PushSignature::parse(signed).unwrap();
        assert!(signature.is_by(std::slice::from_ref(&secret), DateTime::UNIX_EPOCH, b"Hello, World!"));
        assert!(!signature.is_by(&[secret], DateTime::UNIX_EPOCH, b"Hello, World?"));
    }

    #[test]
    fn expired_secret_verifies_no_more() {
        let (end, text) = (DateTime::UNIX_EPOCH, SecretString::from("It's a Secret to Everybody"));
        let secrets = [PushSecret::new(&new_secret().unwrap(), None), PushSecret::new(&text, Some(end))];
        let signed = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let signature = PushSignature::parse(signed).unwrap();
        assert!(signature.is_by(&secrets, end - TimeDelta::milliseconds(1), b"Hello, World!"));
        assert!(!signature.is_by(&secrets, end, b"Hello, World!"));
        assert!(!format!("{secrets:?}").contains("Everybody"));
    }

    #[test]
    fn malformed_headers_are_no_signature() {
        let hex = "7".repeat(64);
        for wrong in [
            "",
            "sha256=",
            &hex,
            &format!("sha1={hex}"),
            &format!("sha256={}g", &hex[1..]),
            &format!("sha256=+7{}", &hex[2..]),
        ] {
            assert_eq!(PushSignature::parse(wrong), None, "{wrong}");
        }
        let secret = new_secret().unwrap();
        assert_eq!(secret.expose_secret().len(), PREFIX.len() + 64);
    }
}
