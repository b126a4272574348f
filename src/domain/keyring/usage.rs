//! Findings of a check of all encrypted rows: which keys they use, and which rows cannot be decrypted. Contains no secret.

use super::{KeyError, Keyring};

/// Most rows that are listed by name; further ones are only counted.
const MAX_LISTED: usize = 100;

/// What a key of the key file is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsageState {
    /// The first key, which encrypts.
    Encrypts,
    /// Not the first key, and used by rows.
    Decrypts,
    /// No row uses it.
    Unused,
    /// Rows use it, and the key file lacks it.
    Missing,
}

/// A key and the rows that use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRows {
    /// Id of the key.
    pub id: String,
    /// Number of rows whose data key it wraps.
    pub rows: u64,
    /// Number of these that cannot be decrypted.
    pub unreadable: u64,
    configured: bool,
    /// Failure of the key's service. Further rows are not tried, because each would wait for the same failure.
    unusable: Option<KeyError>,
}

/// A row that cannot be decrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadableRow {
    /// Table and row, as `table/row`.
    pub row: String,
    /// Id of the key that wraps its data key.
    pub key_id: String,
    /// Reason why its secrets cannot be decrypted.
    pub error: KeyError,
}

/// Use of the keys by the encrypted rows.
#[derive(Clone, Debug)]
pub struct KeyUsage {
    keys: Vec<KeyRows>,
    unreadable: Vec<UnreadableRow>,
    /// Failure of the first key to encrypt a test value.
    pub encrypting: Result<(), KeyError>,
}

impl KeyUsage {
    /// No rows yet. `encrypting` is the result of [`Keyring::check`].
    pub fn new(keyring: &Keyring, encrypting: Result<(), KeyError>) -> Self {
        let keys = keyring.ids().map(|id| KeyRows::new(id, true)).collect();
        Self { keys, unreadable: Vec::new(), encrypting }
    }

    /// Returns the failure of the key's service that an earlier row met.
    pub fn unusable(&self, key_id: &str) -> Option<KeyError> {
        self.keys.iter().find(|key| key.id == key_id)?.unusable.clone()
    }

    /// Counts a row, and keeps it if it cannot be decrypted.
    pub fn add(&mut self, row: String, key_id: String, outcome: Result<(), KeyError>) {
        let known = self.keys.iter().position(|key| key.id == key_id);
        let at = known.unwrap_or_else(|| {
            self.keys.push(KeyRows::new(&key_id, false));
            self.keys.len() - 1
        });
        let Some(key) = self.keys.get_mut(at) else { return };
        key.rows += 1;
        let Err(error) = outcome else { return };
        key.unreadable += 1;
        if matches!(error, KeyError::Service { .. }) {
            key.unusable = Some(error.clone());
        }
        if self.unreadable.len() < MAX_LISTED {
            self.unreadable.push(UnreadableRow { row, key_id, error });
        }
    }

    /// The keys in the order of the key file, followed by those that it lacks.
    pub fn keys(&self) -> impl Iterator<Item = (&KeyRows, UsageState)> {
        self.keys.iter().enumerate().map(|(at, key)| {
            let state = match (key.configured, at, key.rows) {
                (false, ..) => UsageState::Missing,
                (true, 0, _) => UsageState::Encrypts,
                (true, _, 0) => UsageState::Unused,
                (true, ..) => UsageState::Decrypts,
            };
            (key, state)
        })
    }

    /// The rows that cannot be decrypted, the first hundred of them.
    pub fn unreadable(&self) -> &[UnreadableRow] {
        &self.unreadable
    }

    /// Number of encrypted rows, and of those that cannot be decrypted.
    pub fn totals(&self) -> (u64, u64) {
        self.keys.iter().fold((0, 0), |(rows, unreadable), key| (rows + key.rows, unreadable + key.unreadable))
    }
}

impl KeyRows {
    fn new(id: &str, configured: bool) -> Self {
        Self { id: id.to_owned(), rows: 0, unreadable: 0, configured, unusable: None }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use secrecy::{ExposeSecret, SecretString};

    use super::*;

    fn usage(count: usize) -> (KeyUsage, Vec<String>) {
        let lines: Vec<SecretString> = (0..count).map(|_| Keyring::generate().unwrap()).collect();
        let text: Vec<&str> = lines.iter().map(ExposeSecret::expose_secret).collect();
        let keyring = Keyring::parse(&SecretString::from(text.join("\n")), &|_| {
            Arc::new(super::super::LocalKey::new(&[0; 32]).unwrap())
        })
        .unwrap();
        let ids = keyring.ids().map(str::to_owned).collect();
        (KeyUsage::new(&keyring, Ok(())), ids)
    }

    fn states(usage: &KeyUsage) -> Vec<(String, u64, u64, UsageState)> {
        usage.keys().map(|(key, state)| (key.id.clone(), key.rows, key.unreadable, state)).collect()
    }

    #[test]
    fn first_key_is_never_unused() {
        let (mut usage, ids) = usage(3);
        usage.add("t/1".to_owned(), ids[1].clone(), Ok(()));
        assert_eq!(
            states(&usage),
            [
                (ids[0].clone(), 0, 0, UsageState::Encrypts),
                (ids[1].clone(), 1, 0, UsageState::Decrypts),
                (ids[2].clone(), 0, 0, UsageState::Unused)
            ]
        );
    }

    #[test]
    fn missing_key_is_listed_after_the_configured_ones() {
        let (mut usage, ids) = usage(1);
        let unknown = |row: &str| KeyError::Unknown { row: row.to_owned(), key_id: "lost".to_owned() };
        for n in 0..150 {
            usage.add(format!("t/{n}"), "lost".to_owned(), Err(unknown("t/n")));
        }
        assert_eq!(
            states(&usage),
            [(ids[0].clone(), 0, 0, UsageState::Encrypts), ("lost".to_owned(), 150, 150, UsageState::Missing)]
        );
        assert_eq!((usage.unreadable().len(), usage.totals()), (100, (150, 150)));
    }

    #[test]
    fn failing_service_is_remembered_for_its_key_only() {
        let (mut usage, ids) = usage(2);
        let error = KeyError::Service { key_id: ids[0].clone(), problem: "denied".to_owned(), transient: false };
        usage.add("t/1".to_owned(), ids[0].clone(), Err(error.clone()));
        usage.add("t/2".to_owned(), ids[1].clone(), Err(KeyError::Broken("t/2".to_owned())));
        assert_eq!((usage.unusable(&ids[0]), usage.unusable(&ids[1])), (Some(error), None));
    }
}
