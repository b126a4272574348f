//! How secrets are sealed at rest: AES-256-GCM, a data key for each row, wrapped by a key that only the server has.
//!
//! Whatever is sealed is bound to its place: table, row and column are associated data, so that a value that somebody moves to another
//! row or column of the database cannot be opened there.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret as _, SecretString};

/// Bytes of a key.
const KEY_BYTES: usize = 32;

/// Why something cannot be sealed or opened. Never says more of a secret than where it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A line of the list of keys is not one.
    #[error("line {0} of the keys is not ID:KEY with a KEY of 32 bytes in Base64; `panda keys generate` makes one")]
    Line(usize),
    /// The same id twice.
    #[error("the key id {0} is there twice")]
    Twice(String),
    /// No key at all.
    #[error("there is no key; `panda keys generate` makes one")]
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
    /// The system gives no randomness.
    #[error("the system gives no random bytes")]
    Random,
}

/// The server's keys. The first one seals; all open.
pub struct Keyring {
    keys: Vec<Key>,
}

struct Key {
    id: String,
    key: RandomizedNonceKey,
}

/// The data key of one row.
pub struct RowKey {
    /// Id of the key that wraps it.
    pub key_id: String,
    /// It, wrapped: for the row.
    pub wrapped: Vec<u8>,
    place: String,
    key: RandomizedNonceKey,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|key| &key.id)).finish()
    }
}

impl fmt::Debug for RowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowKey").field("place", &self.place).field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

impl Keyring {
    /// Reads `ID:KEY` lines; empty ones and those that begin with `#` are left out.
    ///
    /// # Errors
    /// [`KeyError::Line`], [`KeyError::Twice`], [`KeyError::None`].
    pub fn parse(text: &SecretString) -> Result<Self, KeyError> {
        let mut keys: Vec<Key> = Vec::new();
        for (number, line) in text.expose_secret().lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let key = Key::parse(line).ok_or(KeyError::Line(number + 1))?;
            if keys.iter().any(|known| known.id == key.id) {
                return Err(KeyError::Twice(key.id));
            }
            keys.push(key);
        }
        if keys.is_empty() { Err(KeyError::None) } else { Ok(Self { keys }) }
    }

    /// A new line for the list.
    ///
    /// # Errors
    /// [`KeyError::Random`].
    pub fn generate() -> Result<SecretString, KeyError> {
        let (mut id, mut key) = ([0_u8; 4], Zeroizing::new([0_u8; KEY_BYTES]));
        rand::fill(&mut id).map_err(|_| KeyError::Random)?;
        rand::fill(key.as_mut()).map_err(|_| KeyError::Random)?;
        Ok(SecretString::from(format!("key-{}:{}", hex::encode(id), STANDARD.encode(&key[..]))))
    }

    /// Id of the key that seals.
    pub fn sealing_id(&self) -> &str {
        self.keys.first().map_or("", |key| key.id.as_str())
    }

    /// A new data key for a row.
    ///
    /// # Errors
    /// [`KeyError::Random`].
    pub fn new_row_key(&self, table: &str, row: &str) -> Result<RowKey, KeyError> {
        let mut plain = Zeroizing::new([0_u8; KEY_BYTES]);
        rand::fill(plain.as_mut()).map_err(|_| KeyError::Random)?;
        let place = place(table, row);
        let (key_id, wrapped) = self.wrap(&place, &plain[..])?;
        Ok(RowKey { key_id, wrapped, key: data_key(&place, &plain[..])?, place })
    }

    /// The data key of a row.
    ///
    /// # Errors
    /// [`KeyError::Unknown`], [`KeyError::Broken`].
    pub fn row_key(&self, table: &str, row: &str, key_id: &str, wrapped: &[u8]) -> Result<RowKey, KeyError> {
        let place = place(table, row);
        let plain = self.unwrap(&place, key_id, wrapped)?;
        Ok(RowKey { key_id: key_id.to_owned(), wrapped: wrapped.to_vec(), key: data_key(&place, &plain)?, place })
    }

    /// The data key of a row, wrapped by the key that seals now: its id, and what goes into the row.
    ///
    /// # Errors
    /// As [`Self::row_key`].
    pub fn rewrap(&self, table: &str, row: &str, key_id: &str, wrapped: &[u8]) -> Result<(String, Vec<u8>), KeyError> {
        let place = place(table, row);
        let plain = self.unwrap(&place, key_id, wrapped)?;
        self.wrap(&place, &plain)
    }

    fn wrap(&self, place: &str, plain: &[u8]) -> Result<(String, Vec<u8>), KeyError> {
        let key = self.keys.first().ok_or(KeyError::None)?;
        Ok((key.id.clone(), seal(&key.key, &format!("{place}/{}", key.id), plain)?))
    }

    fn unwrap(&self, place: &str, key_id: &str, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let key = self.keys.iter().find(|key| key.id == key_id);
        let key = key.ok_or_else(|| KeyError::Unknown { place: place.to_owned(), key_id: key_id.to_owned() })?;
        open(&key.key, &format!("{place}/{key_id}"), wrapped)
    }
}

impl Key {
    fn parse(line: &str) -> Option<Self> {
        let (id, key) = line.split_once(':')?;
        let well_formed =
            (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        let bytes = Zeroizing::new(STANDARD.decode(key.trim()).ok()?);
        let key = RandomizedNonceKey::new(&AES_256_GCM, &bytes).ok()?;
        well_formed.then(|| Self { id: id.to_owned(), key })
    }
}

impl RowKey {
    /// Seals `secret` for a column of the row.
    ///
    /// # Errors
    /// [`KeyError::Random`].
    pub fn seal(&self, column: &str, secret: &SecretString) -> Result<Vec<u8>, KeyError> {
        seal(&self.key, &format!("{}/{column}", self.place), secret.expose_secret().as_bytes())
    }

    /// Opens what was sealed for a column of the row.
    ///
    /// # Errors
    /// [`KeyError::Broken`].
    pub fn open(&self, column: &str, sealed: &[u8]) -> Result<SecretString, KeyError> {
        let place = format!("{}/{column}", self.place);
        let plain = open(&self.key, &place, sealed)?;
        let text = std::str::from_utf8(&plain).map_err(|_| KeyError::Broken(place))?;
        Ok(SecretString::from(text))
    }
}

fn place(table: &str, row: &str) -> String {
    format!("{table}/{row}")
}

fn data_key(place: &str, plain: &[u8]) -> Result<RandomizedNonceKey, KeyError> {
    RandomizedNonceKey::new(&AES_256_GCM, plain).map_err(|_| KeyError::Broken(place.to_owned()))
}

/// Nonce, ciphertext, tag.
fn seal(key: &RandomizedNonceKey, place: &str, plain: &[u8]) -> Result<Vec<u8>, KeyError> {
    let mut text = plain.to_vec();
    let nonce = key.seal_in_place_append_tag(Aad::from(place.as_bytes()), &mut text).map_err(|_| KeyError::Random)?;
    let mut sealed = nonce.as_ref().to_vec();
    sealed.extend(text);
    Ok(sealed)
}

fn open(key: &RandomizedNonceKey, place: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let broken = || KeyError::Broken(place.to_owned());
    let (nonce, text) = sealed.split_at_checked(NONCE_LEN).ok_or_else(broken)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| broken())?;
    let mut text = Zeroizing::new(text.to_vec());
    let length = key.open_in_place(nonce, Aad::from(place.as_bytes()), &mut text).map_err(|_| broken())?.len();
    text.truncate(length);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(lines: &[&SecretString]) -> Keyring {
        let text: Vec<&str> = lines.iter().map(|line| line.expose_secret()).collect();
        Keyring::parse(&SecretString::from(text.join("\n"))).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_in_its_place_and_nowhere_else() {
        let line = Keyring::generate().unwrap();
        let keyring = keys(&[&line]);
        let row = keyring.new_row_key("t", "a").unwrap();
        let sealed = row.seal("token", &SecretString::from("hunter2")).unwrap();
        assert!(!sealed.windows(7).any(|part| part == b"hunter2"));
        assert_ne!(sealed, row.seal("token", &SecretString::from("hunter2")).unwrap(), "a nonce of its own");
        let again = keyring.row_key("t", "a", &row.key_id, &row.wrapped).unwrap();
        assert_eq!(again.open("token", &sealed).unwrap().expose_secret(), "hunter2");
        assert!(again.open("other", &sealed).is_err(), "another column");
        assert!(keyring.row_key("t", "b", &row.key_id, &row.wrapped).is_err(), "another row");
        assert!(keyring.row_key("u", "a", &row.key_id, &row.wrapped).is_err(), "another table");
        let other = keyring.new_row_key("t", "a").unwrap();
        assert!(other.open("token", &sealed).is_err(), "another data key");
        for n in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[n] ^= 1;
            assert!(again.open("token", &changed).is_err(), "byte {n} was changed");
        }
        assert!(again.open("token", b"").is_err() && again.open("token", &sealed[..11]).is_err());
    }

    #[test]
    fn a_rotated_key_opens_what_the_old_one_sealed_once_it_is_rewrapped() {
        let (old, new) = (Keyring::generate().unwrap(), Keyring::generate().unwrap());
        let before = keys(&[&old]);
        let row = before.new_row_key("t", "a").unwrap();
        let sealed = row.seal("token", &SecretString::from("s")).unwrap();
        let both = keys(&[&new, &old]);
        let (id, wrapped) = both.rewrap("t", "a", &row.key_id, &row.wrapped).unwrap();
        assert_eq!(id, both.sealing_id());
        let after = keys(&[&new]);
        let opened = after.row_key("t", "a", &id, &wrapped).unwrap().open("token", &sealed).unwrap();
        assert_eq!(opened.expose_secret(), "s");
        let missing = after.row_key("t", "a", &row.key_id, &row.wrapped).unwrap_err();
        assert!(matches!(&missing, KeyError::Unknown { key_id, .. } if *key_id == row.key_id), "{missing}");
    }

    #[test]
    fn a_line_that_is_no_key_is_named_and_never_shown() {
        let refused = |text: &str| Keyring::parse(&SecretString::from(text)).unwrap_err();
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
    fn debug_shows_ids_only() {
        let line = Keyring::generate().unwrap();
        let keyring = keys(&[&line]);
        let key = line.expose_secret().split_once(':').unwrap().1;
        let row = keyring.new_row_key("t", "a").unwrap();
        assert!(!format!("{keyring:?} {row:?}").contains(key));
        assert!(format!("{keyring:?}").contains(keyring.sealing_id()));
    }
}
