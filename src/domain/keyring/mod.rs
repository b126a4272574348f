//! How secrets are sealed at rest: AES-256-GCM, a data key for each row, wrapped by a key that the database does not have.
//!
//! Whatever is sealed is bound to its place: table, row and column are associated data, so that a value that somebody moves to another
//! row or column of the database cannot be opened there. What wraps data keys is behind [`WrappingKey`]: a key of the server's own list
//! ([`LocalKey`]), or one that never leaves a key management service (`clients::aws::KmsKey`).

mod local;
mod row;

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

/// Bytes of a key.
const KEY_BYTES: usize = 32;

/// Why something cannot be sealed or opened. Never says more of a secret than where it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A line of the list of keys is not one.
    #[error(
        "line {0} of the keys is neither ID:KEY with a KEY of 32 bytes in Base64 nor ID:ARN with the ARN of a KMS key or alias"
    )]
    Line(usize),
    /// The same id twice.
    #[error("the key id {0} is there twice")]
    Twice(String),
    /// No key at all.
    #[error("there is no key")]
    None,
    /// It was sealed with a key that is not configured.
    #[error(
        "{place} is sealed with the key {key_id}, which is not among those configured: add it behind the first one"
    )]
    Unknown {
        /// Table and row.
        place: String,
        /// The key that is missing.
        key_id: String,
    },
    /// It does not open: changed, moved, or sealed with another key of the same id.
    #[error("{0} does not open with its key: it was changed, or the key of that id is another one")]
    Broken(String),
    /// The service that has the key did not do it.
    #[error("the key {key_id} cannot be used: {problem}")]
    Service {
        /// Which key.
        key_id: String,
        /// What the service said.
        problem: String,
        /// Whether it may do it later as it is: away or busy, not refused.
        passing: bool,
    },
    /// The system gives no randomness.
    #[error("the system gives no random bytes")]
    Random,
}

/// What a [`WrappingKey`] comes to.
pub type Wrapping<'a, T> = Pin<Box<dyn Future<Output = Result<T, KeyError>> + Send + 'a>>;

/// What wraps the data keys of rows.
pub trait WrappingKey: Send + Sync {
    /// `data_key`, wrapped, so that it can be unwrapped in the same `context` only.
    fn wrap<'a>(&'a self, context: Context<'a>, data_key: &'a [u8]) -> Wrapping<'a, Vec<u8>>;

    /// The data key in `wrapped`.
    fn unwrap<'a>(&'a self, context: Context<'a>, wrapped: &'a [u8]) -> Wrapping<'a, Zeroizing<Vec<u8>>>;
}

/// What a data key is bound to.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Table and row.
    pub place: &'a str,
    /// Id of the key that wraps it.
    pub key_id: &'a str,
}

impl fmt::Display for Context<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.place, self.key_id)
    }
}

/// The server's keys. The first one seals; all open.
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
    /// Reads `ID:KEY` and `ID:ARN` lines; empty ones and those that begin with `#` are left out. `kms` makes the key of an ARN.
    ///
    /// # Errors
    /// [`KeyError::Line`], [`KeyError::Twice`], [`KeyError::None`].
    pub fn parse(text: &SecretString, kms: &dyn Fn(&str) -> Arc<dyn WrappingKey>) -> Result<Self, KeyError> {
        let mut keys: Vec<Key> = Vec::new();
        for (number, line) in text.expose_secret().lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let key = Key::parse(line, kms).ok_or(KeyError::Line(number + 1))?;
            if keys.iter().any(|known| known.id == key.id) {
                return Err(KeyError::Twice(key.id));
            }
            keys.push(key);
        }
        if keys.is_empty() { Err(KeyError::None) } else { Ok(Self { keys }) }
    }

    /// A new line for the list, with a key of its own.
    ///
    /// # Errors
    /// [`KeyError::Random`].
    pub fn generate() -> Result<SecretString, KeyError> {
        let mut key = Zeroizing::new([0_u8; KEY_BYTES]);
        rand::fill(key.as_mut()).map_err(|_| KeyError::Random)?;
        Ok(SecretString::from(format!("{}:{}", new_id()?, STANDARD.encode(&key[..]))))
    }

    /// A new line for the list, that names a key of KMS.
    ///
    /// # Errors
    /// [`KeyError::Line`] when it is not the ARN of a key or an alias; [`KeyError::Random`].
    pub fn name_kms(arn: &str) -> Result<String, KeyError> {
        if is_kms_arn(arn) { Ok(format!("{}:{arn}", new_id()?)) } else { Err(KeyError::Line(1)) }
    }

    /// Id of the key that seals.
    pub fn sealing_id(&self) -> &str {
        self.keys.first().map_or("", |key| key.id.as_str())
    }

    /// Wraps and unwraps with the key that seals, as the first secret will need it.
    ///
    /// # Errors
    /// As [`Self::row_key`].
    pub async fn check(&self) -> Result<(), KeyError> {
        let row = self.new_row_key("check", "check").await?;
        self.row_key("check", "check", &row.key_id, &row.wrapped).await.map(drop)
    }

    /// A new data key for a row.
    ///
    /// # Errors
    /// [`KeyError::Random`], [`KeyError::Service`].
    pub async fn new_row_key(&self, table: &str, row: &str) -> Result<RowKey, KeyError> {
        let mut plain = Zeroizing::new([0_u8; KEY_BYTES]);
        rand::fill(plain.as_mut()).map_err(|_| KeyError::Random)?;
        let place = place(table, row);
        let (key_id, wrapped) = self.wrap(&place, &plain[..]).await?;
        RowKey::new(place, key_id, wrapped, &plain[..])
    }

    /// The data key of a row.
    ///
    /// # Errors
    /// [`KeyError::Unknown`], [`KeyError::Broken`], [`KeyError::Service`].
    pub async fn row_key(&self, table: &str, row: &str, key_id: &str, wrapped: &[u8]) -> Result<RowKey, KeyError> {
        let place = place(table, row);
        let plain = self.unwrap(&place, key_id, wrapped).await?;
        RowKey::new(place, key_id.to_owned(), wrapped.to_vec(), &plain)
    }

    /// The data key of a row, wrapped by the key that seals now: its id, and what goes into the row.
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
        let place = place(table, row);
        let plain = self.unwrap(&place, key_id, wrapped).await?;
        self.wrap(&place, &plain).await
    }

    async fn wrap(&self, place: &str, plain: &[u8]) -> Result<(String, Vec<u8>), KeyError> {
        let key = self.keys.first().ok_or(KeyError::None)?;
        let wrapped = key.key.wrap(Context { place, key_id: &key.id }, plain).await?;
        Ok((key.id.clone(), wrapped))
    }

    async fn unwrap(&self, place: &str, key_id: &str, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let key = self.keys.iter().find(|key| key.id == key_id);
        let key = key.ok_or_else(|| KeyError::Unknown { place: place.to_owned(), key_id: key_id.to_owned() })?;
        key.key.unwrap(Context { place, key_id }, wrapped).await
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

/// `arn:PARTITION:kms:REGION:ACCOUNT:key/ID` or `…:alias/NAME`.
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

fn place(table: &str, row: &str) -> String {
    format!("{table}/{row}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no_kms(arn: &str) -> Arc<dyn WrappingKey> {
        panic!("{arn} is not asked for")
    }

    fn keys(lines: &[&SecretString]) -> Keyring {
        let text: Vec<&str> = lines.iter().map(|line| line.expose_secret()).collect();
        Keyring::parse(&SecretString::from(text.join("\n")), &no_kms).unwrap()
    }

    #[tokio::test]
    async fn what_is_sealed_opens_in_its_place_and_nowhere_else() {
        let line = Keyring::generate().unwrap();
        let keyring = keys(&[&line]);
        let row = keyring.new_row_key("t", "a").await.unwrap();
        let sealed = row.seal("token", &SecretString::from("hunter2")).unwrap();
        assert!(!sealed.windows(7).any(|part| part == b"hunter2"));
        assert_ne!(sealed, row.seal("token", &SecretString::from("hunter2")).unwrap(), "a nonce of its own");
        let again = keyring.row_key("t", "a", &row.key_id, &row.wrapped).await.unwrap();
        assert_eq!(again.open("token", &sealed).unwrap().expose_secret(), "hunter2");
        assert!(again.open("other", &sealed).is_err(), "another column");
        assert!(keyring.row_key("t", "b", &row.key_id, &row.wrapped).await.is_err(), "another row");
        assert!(keyring.row_key("u", "a", &row.key_id, &row.wrapped).await.is_err(), "another table");
        let other = keyring.new_row_key("t", "a").await.unwrap();
        assert!(other.open("token", &sealed).is_err(), "another data key");
        for n in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[n] ^= 1;
            assert!(again.open("token", &changed).is_err(), "byte {n} was changed");
        }
        assert!(again.open("token", b"").is_err() && again.open("token", &sealed[..11]).is_err());
    }

    #[tokio::test]
    async fn a_rotated_key_opens_what_the_old_one_sealed_once_it_is_rewrapped() {
        let (old, new) = (Keyring::generate().unwrap(), Keyring::generate().unwrap());
        let before = keys(&[&old]);
        let row = before.new_row_key("t", "a").await.unwrap();
        let sealed = row.seal("token", &SecretString::from("s")).unwrap();
        let both = keys(&[&new, &old]);
        let (id, wrapped) = both.rewrap("t", "a", &row.key_id, &row.wrapped).await.unwrap();
        assert_eq!(id, both.sealing_id());
        let after = keys(&[&new]);
        let opened = after.row_key("t", "a", &id, &wrapped).await.unwrap().open("token", &sealed).unwrap();
        assert_eq!(opened.expose_secret(), "s");
        let missing = after.row_key("t", "a", &row.key_id, &row.wrapped).await.unwrap_err();
        assert!(matches!(&missing, KeyError::Unknown { key_id, .. } if *key_id == row.key_id), "{missing}");
    }

    #[test]
    fn a_line_that_is_no_key_is_named_and_never_shown() {
        let refused = |text: &str| Keyring::parse(&SecretString::from(text), &no_kms).unwrap_err();
        assert_eq!(refused(""), KeyError::None);
        assert_eq!(refused("# only this\n\n"), KeyError::None);
        for text in ["topsecret", "a:topsecret", "a:dG9wc2VjcmV0", ":AAAA", "a b:AAAA"] {
            let error = refused(&format!("# keys\n{text}"));
            assert_eq!(error, KeyError::Line(2));
            assert!(!error.to_string().contains("secret"));
        }
        let line = Keyring::generate().unwrap();
        assert!(matches!(refused(&format!("{0}\n{0}", line.expose_secret())), KeyError::Twice(_)));
    }

    #[test]
    fn a_line_may_name_a_key_of_kms_by_its_arn_alone() {
        let asked = std::sync::Mutex::new(Vec::new());
        let kms = |arn: &str| -> Arc<dyn WrappingKey> {
            asked.lock().unwrap().push(arn.to_owned());
            Arc::new(LocalKey::new(&[0; KEY_BYTES]).unwrap())
        };
        let key = "arn:aws:kms:ap-northeast-2:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
        let alias = "arn:aws-cn:kms:cn-north-1:111122223333:alias/team/panda";
        let text = format!("{}\n{}", Keyring::name_kms(key).unwrap(), Keyring::name_kms(alias).unwrap());
        let keyring = Keyring::parse(&SecretString::from(text), &kms).unwrap();
        assert!(keyring.sealing_id().starts_with("key-"));
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
    async fn debug_shows_ids_only() {
        let line = Keyring::generate().unwrap();
        let keyring = keys(&[&line]);
        let key = line.expose_secret().split_once(':').unwrap().1;
        let row = keyring.new_row_key("t", "a").await.unwrap();
        assert!(!format!("{keyring:?} {row:?}").contains(key));
        assert!(format!("{keyring:?}").contains(keyring.sealing_id()));
    }
}
