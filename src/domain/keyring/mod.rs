//! Encryption at rest of stored secrets: AES-256-GCM with a data key for each row, wrapped by a key-encryption key that the database does
//! not have.
//!
//! Table, row and column are the associated data of each encrypted value, so that a value that is moved to another row or column of the
//! database cannot be decrypted there. [`WrappingKey`] abstracts the key-encryption key: a key of the server's own list ([`LocalKey`]),
//! or one that never leaves a key management service (`clients::aws::KmsKey`).

mod local;
mod row;
mod usage;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret as _, SecretString};

pub use local::LocalKey;
pub use row::RowKey;
pub use usage::{KeyRows, KeyUsage, UnreadableRow, UsageState};

/// Length of an AES-256 key, in bytes.
const KEY_BYTES: usize = 32;

/// Failure to encrypt or decrypt a secret. Contains at most the table, row and column of the secret, never a part of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A line of the key file is malformed.
    #[error(
        "line {0} of the keys is neither ID:KEY with a KEY of 32 bytes in Base64 nor ID:ARN with the ARN of a KMS key or alias"
    )]
    Line(usize),
    /// Two lines of the key file have the same id.
    #[error("two keys have the id {0}: give each key its own id")]
    DuplicateId(String),
    /// The key file has no keys.
    #[error("there is no key")]
    None,
    /// The secret was encrypted with a key that is not configured.
    #[error(
        "{row} is encrypted with the key {key_id}, which is not configured: add it to the key file after the first key"
    )]
    Unknown {
        /// Table and row, as `table/row`.
        row: String,
        /// Id of the missing key.
        key_id: String,
    },
    /// Decryption failed: the value was changed, moved, or encrypted with another key of the same id.
    #[error("{0} cannot be decrypted: the value was changed, or the key file has another key under the same id")]
    Broken(String),
    /// The key management service failed or refused.
    #[error("the key {key_id} cannot be used: {problem}")]
    Service {
        /// Id that the key's line in the key file gives it.
        key_id: String,
        /// Error message of the service.
        problem: String,
        /// True if the same call may succeed later: the service is unavailable or busy, and did not refuse.
        transient: bool,
    },
    /// The system's random number generator failed.
    #[error("the system's random number generator failed")]
    Random,
}

/// Future of a [`WrappingKey`] operation.
pub type Wrapping<'a, T> = Pin<Box<dyn Future<Output = Result<T, KeyError>> + Send + 'a>>;

/// A key-encryption key: wraps and unwraps the data keys of rows.
pub trait WrappingKey: Send + Sync {
    /// Wraps `data_key`, so that it can be unwrapped in the same `context` only.
    fn wrap<'a>(&'a self, context: EncryptionContext<'a>, data_key: &'a [u8]) -> Wrapping<'a, Vec<u8>>;

    /// Unwraps the data key in `wrapped`.
    fn unwrap<'a>(&'a self, context: EncryptionContext<'a>, wrapped: &'a [u8]) -> Wrapping<'a, Zeroizing<Vec<u8>>>;
}

/// Associated data of a wrapped data key: it can be unwrapped in the same context only.
#[derive(Clone, Copy, Debug)]
pub struct EncryptionContext<'a> {
    /// Table and row, as `table/row`.
    pub row: &'a str,
    /// Id of the key-encryption key.
    pub key_id: &'a str,
}

impl fmt::Display for EncryptionContext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.row, self.key_id)
    }
}

/// The server's key-encryption keys. The first one encrypts; all decrypt.
pub struct Keyring {
    keys: Vec<Key>,
}

struct Key {
    id: String,
    key: Arc<dyn WrappingKey>,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|key| &key.id)).finish()
    }
}

impl Keyring {
    /// Parses `ID:KEY` and `ID:ARN` lines; skips empty lines and lines that begin with `#`. `kms` creates the key of an ARN.
    ///
    /// # Errors
    /// [`KeyError::Line`], [`KeyError::DuplicateId`], [`KeyError::None`].
    pub fn parse(text: &SecretString, kms: &dyn Fn(&str) -> Arc<dyn WrappingKey>) -> Result<Self, KeyError> {
        let mut keys: Vec<Key> = Vec::new();
        for (number, line) in text.expose_secret().lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let key = Key::parse(line, kms).ok_or(KeyError::Line(number + 1))?;
            if keys.iter().any(|known| known.id == key.id) {
                return Err(KeyError::DuplicateId(key.id));
            }
            keys.push(key);
        }
        if keys.is_empty() { Err(KeyError::None) } else { Ok(Self { keys }) }
    }

    /// Generates a line of the key file with a new key.
    ///
    /// # Errors
    /// [`KeyError::Random`].
    pub fn generate() -> Result<SecretString, KeyError> {
        let mut key = Zeroizing::new([0_u8; KEY_BYTES]);
        rand::fill(key.as_mut()).map_err(|_| KeyError::Random)?;
        Ok(SecretString::from(format!("{}:{}", new_id()?, STANDARD.encode(&key[..]))))
    }

    /// Generates a line of the key file that names a key of KMS.
    ///
    /// # Errors
    /// [`KeyError::Line`] if `arn` is not the ARN of a KMS key or alias; [`KeyError::Random`].
    pub fn name_kms(arn: &str) -> Result<String, KeyError> {
        if is_kms_arn(arn) { Ok(format!("{}:{arn}", new_id()?)) } else { Err(KeyError::Line(1)) }
    }

    /// Returns the id of the key that encrypts.
    pub fn encrypting_id(&self) -> &str {
        self.keys.first().map_or("", |key| key.id.as_str())
    }

    /// Returns the ids of all keys, in the order of the key file.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|key| key.id.as_str())
    }

    /// Wraps and unwraps a test value with the key that encrypts, so that an unusable key is found at start and not with the first secret.
    ///
    /// # Errors
    /// As [`Self::row_key`].
    pub async fn check(&self) -> Result<(), KeyError> {
        let row = self.new_row_key("check", "check").await?;
        self.row_key("check", "check", &row.key_id, &row.wrapped).await.map(drop)
    }

    /// Creates a new data key for a row.
    ///
    /// # Errors
    /// [`KeyError::Random`], [`KeyError::Service`].
    pub async fn new_row_key(&self, table: &str, row: &str) -> Result<RowKey, KeyError> {
        let mut plain = Zeroizing::new([0_u8; KEY_BYTES]);
        rand::fill(plain.as_mut()).map_err(|_| KeyError::Random)?;
        let row = path(table, row);
        let (key_id, wrapped) = self.wrap(&row, &plain[..]).await?;
        RowKey::new(row, key_id, wrapped, &plain[..])
    }

    /// Unwraps the data key of a row.
    ///
    /// # Errors
    /// [`KeyError::Unknown`], [`KeyError::Broken`], [`KeyError::Service`].
    pub async fn row_key(&self, table: &str, row: &str, key_id: &str, wrapped: &[u8]) -> Result<RowKey, KeyError> {
        let row = path(table, row);
        let plain = self.unwrap(&row, key_id, wrapped).await?;
        RowKey::new(row, key_id.to_owned(), wrapped.to_vec(), &plain)
    }

    /// Wraps the data key of a row with the key that encrypts now. Returns that key's id and the wrapped data key, both for the row.
    ///
    /// # Errors
    /// As [`Self::row_key`].
    pub async fn rewrap(
        &self,
        table: &str,
        row: &str,
        key_id: &str,
        wrapped: &[u8],
    ) -> Result<(String, Vec<u8>), KeyError> {
        let row = path(table, row);
        let plain = self.unwrap(&row, key_id, wrapped).await?;
        self.wrap(&row, &plain).await
    }

    async fn wrap(&self, row: &str, plain: &[u8]) -> Result<(String, Vec<u8>), KeyError> {
        let key = self.keys.first().ok_or(KeyError::None)?;
        let wrapped = key.key.wrap(EncryptionContext { row, key_id: &key.id }, plain).await?;
        Ok((key.id.clone(), wrapped))
    }

    async fn unwrap(&self, row: &str, key_id: &str, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let key = self.keys.iter().find(|key| key.id == key_id);
        let key = key.ok_or_else(|| KeyError::Unknown { row: row.to_owned(), key_id: key_id.to_owned() })?;
        key.key.unwrap(EncryptionContext { row, key_id }, wrapped).await
    }
}

impl Key {
    fn parse(line: &str, kms: &dyn Fn(&str) -> Arc<dyn WrappingKey>) -> Option<Self> {
        let (id, key) = line.split_once(':')?;
        let well_formed =
            (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        if !well_formed {
            return None;
        }
        let key = key.trim();
        let key = if is_kms_arn(key) {
            kms(key)
        } else {
            let bytes = Zeroizing::new(STANDARD.decode(key).ok()?);
            Arc::new(LocalKey::new(&bytes)?)
        };
        Some(Self { id: id.to_owned(), key })
    }
}

fn new_id() -> Result<String, KeyError> {
    let mut id = [0_u8; 4];
    rand::fill(&mut id).map_err(|_| KeyError::Random)?;
    Ok(format!("key-{}", hex::encode(id)))
}

/// Returns true for `arn:PARTITION:kms:REGION:ACCOUNT:key/ID` and `…:alias/NAME`.
fn is_kms_arn(text: &str) -> bool {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let word = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_/".contains(&b));
    let ["arn", partition, "kms", region, account, resource] = parts[..] else { return false };
    let name = resource.strip_prefix("key/").or_else(|| resource.strip_prefix("alias/"));
    partition.starts_with("aws")
        && word(partition)
        && word(region)
        && account.len() == 12
        && account.bytes().all(|b| b.is_ascii_digit())
        && name.is_some_and(word)
}

fn path(table: &str, row: &str) -> String {
    format!("{table}/{row}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no_kms(arn: &str) -> Arc<dyn WrappingKey> {
        panic!("unexpected request for the key {arn}")
    }

    fn keys(lines: &[&SecretString]) -> Keyring {
        let text: Vec<&str> = lines.iter().map(|line| line.expose_secret()).collect();
        Keyring::parse(&SecretString::from(text.join("\n")), &no_kms).unwrap()
    }

    #[tokio::test]
    async fn decrypts_in_the_same_row_and_column_only() {
        let line = Keyring::generate().unwrap();
        let keyring = keys(&[&line]);
        let row = keyring.new_row_key("t", "a").await.unwrap();
        let encrypted = row.encrypt("token", &SecretString::from("hunter2")).unwrap();
        assert!(!encrypted.windows(7).any(|part| part == b"hunter2"));
        assert_ne!(encrypted, row.encrypt("token", &SecretString::from("hunter2")).unwrap(), "a fresh nonce");
        let again = keyring.row_key("t", "a", &row.key_id, &row.wrapped).await.unwrap();
        assert_eq!(again.decrypt("token", &encrypted).unwrap().expose_secret(), "hunter2");
        assert!(again.decrypt("other", &encrypted).is_err(), "another column");
        assert!(keyring.row_key("t", "b", &row.key_id, &row.wrapped).await.is_err(), "another row");
        assert!(keyring.row_key("u", "a", &row.key_id, &row.wrapped).await.is_err(), "another table");
        let other = keyring.new_row_key("t", "a").await.unwrap();
        assert!(other.decrypt("token", &encrypted).is_err(), "another data key");
        for n in 0..encrypted.len() {
            let mut changed = encrypted.clone();
            changed[n] ^= 1;
            assert!(again.decrypt("token", &changed).is_err(), "byte {n} was changed");
        }
        assert!(again.decrypt("token", b"").is_err() && again.decrypt("token", &encrypted[..11]).is_err());
    }

    #[tokio::test]
    async fn new_key_decrypts_after_rewrapping() {
        let (old, new) = (Keyring::generate().unwrap(), Keyring::generate().unwrap());
        let before = keys(&[&old]);
        let row = before.new_row_key("t", "a").await.unwrap();
        let encrypted = row.encrypt("token", &SecretString::from("s")).unwrap();
        let both = keys(&[&new, &old]);
        let (id, wrapped) = both.rewrap("t", "a", &row.key_id, &row.wrapped).await.unwrap();
        assert_eq!(id, both.encrypting_id());
        let after = keys(&[&new]);
        let decrypted = after.row_key("t", "a", &id, &wrapped).await.unwrap().decrypt("token", &encrypted).unwrap();
        assert_eq!(decrypted.expose_secret(), "s");
        let missing = after.row_key("t", "a", &row.key_id, &row.wrapped).await.unwrap_err();
        assert!(matches!(&missing, KeyError::Unknown { key_id, .. } if *key_id == row.key_id), "{missing}");
    }

    #[test]
    fn rejects_a_malformed_line_without_showing_it() {
        let refused = |text: &str| Keyring::parse(&SecretString::from(text), &no_kms).unwrap_err();
        assert_eq!(refused(""), KeyError::None);
        assert_eq!(refused("# only this\n\n"), KeyError::None);
        for text in ["topsecret", "a:topsecret", "a:dG9wc2VjcmV0", ":AAAA", "a b:AAAA"] {
            let error = refused(&format!("# keys\n{text}"));
            assert_eq!(error, KeyError::Line(2));
            assert!(!error.to_string().contains("secret"));
        }
        let line = Keyring::generate().unwrap();
        assert!(matches!(refused(&format!("{0}\n{0}", line.expose_secret())), KeyError::DuplicateId(_)));
    }

    #[test]
    fn accepts_the_arn_of_a_kms_key() {
        let asked = std::sync::Mutex::new(Vec::new());
        let kms = |arn: &str| -> Arc<dyn WrappingKey> {
            asked.lock().unwrap().push(arn.to_owned());
            Arc::new(LocalKey::new(&[0; KEY_BYTES]).unwrap())
        };
        let key = "arn:aws:kms:ap-northeast-2:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
        let alias = "arn:aws-cn:kms:cn-north-1:111122223333:alias/team/panda";
        let text = format!("{}\n{}", Keyring::name_kms(key).unwrap(), Keyring::name_kms(alias).unwrap());
        let keyring = Keyring::parse(&SecretString::from(text), &kms).unwrap();
        assert!(keyring.encrypting_id().starts_with("key-"));
        assert_eq!(*asked.lock().unwrap(), [key, alias]);
        for arn in [
            "arn:aws:kms:ap-northeast-2:111122223333:key/",
            "arn:aws:kms:ap-northeast-2:1111:key/a",
            "arn:aws:sns:ap-northeast-2:111122223333:key/a",
            "arn:aws:kms::111122223333:key/a",
            "arn:aws:kms:ap-northeast-2:111122223333:grant/a",
            "arn:aws:kms:ap-northeast-2:111122223333:key/a b",
            "alias/panda",
        ] {
            assert!(Keyring::name_kms(arn).is_err(), "{arn}");
            let line = SecretString::from(format!("a:{arn}"));
            assert_eq!(Keyring::parse(&line, &kms).unwrap_err(), KeyError::Line(1), "{arn}");
        }
    }

    #[tokio::test]
    async fn debug_output_has_ids_only() {
        let line = Keyring::generate().unwrap();
        let keyring = keys(&[&line]);
        let key = line.expose_secret().split_once(':').unwrap().1;
        let row = keyring.new_row_key("t", "a").await.unwrap();
        assert!(!format!("{keyring:?} {row:?}").contains(key));
        assert!(format!("{keyring:?}").contains(keyring.encrypting_id()));
    }
}
