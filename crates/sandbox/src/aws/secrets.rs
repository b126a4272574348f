//! Secrets Manager: each secret has only its current value.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::super::accounts::{REGION, random_text};
use super::error::AwsError;

/// Secrets by account and name.
#[derive(Clone, Debug, Default)]
pub struct SecretStore(pub BTreeMap<(String, String), Secret>);

#[derive(Clone, Debug)]
pub struct Secret {
    pub arn: String,
    pub value: Option<String>,
    pub version: String,
    pub created: DateTime<Utc>,
    pub changed: DateTime<Utc>,
}

impl SecretStore {
    /// Writes a value, and creates the secret when absent, as the pipeline does.
    pub fn write(&mut self, account: &str, name: &str, value: String) {
        let secret = self.0.entry((account.to_owned(), name.to_owned())).or_insert_with(|| Secret::new(account, name));
        secret.set(value);
    }

    /// Finds a secret by name or ARN.
    pub fn find(&self, account: &str, id: &str) -> Result<(&str, &Secret), AwsError> {
        self.0
            .iter()
            .find(|((owner, name), secret)| owner == account && (name == id || secret.arn == id))
            .map(|((_, name), secret)| (name.as_str(), secret))
            .ok_or_else(|| {
                AwsError::new("ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
            })
    }
}

impl Secret {
    pub fn new(account: &str, name: &str) -> Self {
        let now = Utc::now();
        Self {
            arn: format!("arn:aws:secretsmanager:{REGION}:{account}:secret:{name}-{}", random_text(6)),
            value: None,
            version: Uuid::new_v4().to_string(),
            created: now,
            changed: now,
        }
    }

    pub fn set(&mut self, value: String) {
        self.value = Some(value);
        self.version = Uuid::new_v4().to_string();
        self.changed = Utc::now();
    }
}
