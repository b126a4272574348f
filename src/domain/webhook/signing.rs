//! Secrets of webhooks, and signatures by them: HMAC-SHA-256 of `id.timestamp.body`, as Standard Webhooks 1.0 defines the version `v1`.

use aws_lc_rs::{hmac, rand};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret as _, SecretString};

use crate::domain::keyring::KeyError;

/// Prefix of secrets, by which libraries and secret scanners recognise them.
const PREFIX: &str = "whsec_";

/// Random part of a secret, in bytes. The standard permits 24 to 64.
const BYTES: usize = 32;

/// A secret that signs, until it expires.
#[derive(Clone, Debug)]
pub struct SigningKey {
    key: hmac::Key,
    /// When it stops signing, by the database's clock; none for the newest secret.
    pub expires_at: Option<DateTime<Utc>>,
}

/// Generates a secret.
///
/// # Errors
/// [`KeyError::Random`].
pub fn new_secret() -> Result<SecretString, KeyError> {
    let mut bytes = Zeroizing::new([0; BYTES]);
    rand::fill(bytes.as_mut_slice()).map_err(|_| KeyError::Random)?;
    Ok(SecretString::from(format!("{PREFIX}{}", STANDARD.encode(bytes.as_slice()))))
}

impl SigningKey {
    /// Reads a secret in the form `whsec_BASE64`; none for any other text.
    pub fn new(secret: &SecretString, expires_at: Option<DateTime<Utc>>) -> Option<Self> {
        let encoded = secret.expose_secret().strip_prefix(PREFIX)?;
        let bytes = Zeroizing::new(STANDARD.decode(encoded).ok()?);
        Some(Self { key: hmac::Key::new(hmac::HMAC_SHA256, &bytes), expires_at })
    }

    fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(format!("{id}.{timestamp}.").as_bytes());
        context.update(body);
        format!("v1,{}", STANDARD.encode(context.sign().as_ref()))
    }
}

/// Value of the header `webhook-signature`: a signature by each secret that has not expired at `now`, the newest first.
pub fn signatures(keys: &[SigningKey], id: &str, now: DateTime<Utc>, body: &[u8]) -> String {
    let live = keys.iter().filter(|key| key.expires_at.is_none_or(|end| now < end));
    live.map(|key| key.sign(id, now.timestamp(), body)).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;

    fn key(secret: &str, expires_at: Option<DateTime<Utc>>) -> SigningKey {
        SigningKey::new(&SecretString::from(secret), expires_at).unwrap()
    }

    /// The example of the standard's reference libraries.
    #[test]
    fn signs_as_the_standard_does() {
        let keys = [key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", None)];
        let now = DateTime::from_timestamp(1_614_265_330, 0).unwrap();
        let signed = signatures(&keys, "msg_p5jXN8AQM9LWM0D4loKWxJek", now, br#"{"test": 2432232314}"#);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn expired_secret_signs_no_more() {
        let now = DateTime::from_timestamp(1_614_265_330, 0).unwrap();
        let newest = new_secret().unwrap();
        let keys = [
            SigningKey::new(&newest, None).unwrap(),
            key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", Some(now + TimeDelta::seconds(1))),
        ];
        assert_eq!(signatures(&keys, "x", now, b"{}").split(' ').count(), 2);
        assert_eq!(signatures(&keys, "x", now + TimeDelta::seconds(1), b"{}").split(' ').count(), 1);
        assert!(SigningKey::new(&SecretString::from("panda_x"), None).is_none());
        assert!(!format!("{keys:?}").contains("MfKQ"));
    }
}
