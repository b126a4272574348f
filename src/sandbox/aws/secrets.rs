//! Secrets Manager: a secret has one current value.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::super::accounts::{Caller, REGION, random_text};
use super::super::world::World;
use super::error::AwsError;
use super::{epoch, input, unknown};

/// By account and name.
#[derive(Default)]
pub struct Secrets(BTreeMap<(String, String), Secret>);

struct Secret {
    arn: String,
    value: Option<String>,
    version: String,
    created: DateTime<Utc>,
    changed: DateTime<Utc>,
}

impl Secrets {
    /// Writes a value, creating the secret when it is new, as the pipeline does.
    pub fn write(&mut self, account: &str, name: &str, value: String) {
        let secret = self.0.entry((account.to_owned(), name.to_owned())).or_insert_with(|| Secret::new(account, name));
        secret.set(value);
    }

    /// The secret that a name or an ARN means.
    fn find(&self, account: &str, id: &str) -> Result<(&str, &Secret), AwsError> {
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
    fn new(account: &str, name: &str) -> Self {
        let now = Utc::now();
        Self {
            arn: format!("arn:aws:secretsmanager:{REGION}:{account}:secret:{name}-{}", random_text(6)),
            value: None,
            version: Uuid::new_v4().to_string(),
            created: now,
            changed: now,
        }
    }

    fn set(&mut self, value: String) {
        self.value = Some(value);
        self.version = Uuid::new_v4().to_string();
        self.changed = Utc::now();
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ById {
    secret_id: String,
    secret_string: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Create {
    name: String,
    secret_string: Option<String>,
}

pub fn call(world: &World, caller: &Caller, operation: &str, body: &[u8]) -> Result<Value, AwsError> {
    match operation {
        "GetSecretValue" => get(world, caller, &input(body)?),
        "DescribeSecret" => describe(world, caller, &input(body)?),
        "CreateSecret" => create(world, caller, input(body)?),
        "PutSecretValue" => put(world, caller, input(body)?),
        other => Err(unknown("secretsmanager", other)),
    }
}

fn get(world: &World, caller: &Caller, wanted: &ById) -> Result<Value, AwsError> {
    world.read(|state| {
        let (name, secret) = state.secrets.find(&caller.account, &wanted.secret_id)?;
        let value = secret.value.as_ref().ok_or_else(|| {
            AwsError::new(
                "ResourceNotFoundException",
                "Secrets Manager can't find the specified secret value for staging label: AWSCURRENT",
            )
        })?;
        Ok(json!({
            "ARN": secret.arn, "Name": name, "VersionId": secret.version, "SecretString": value,
            "VersionStages": ["AWSCURRENT"], "CreatedDate": epoch(secret.changed),
        }))
    })
}

fn describe(world: &World, caller: &Caller, wanted: &ById) -> Result<Value, AwsError> {
    world.read(|state| {
        let (name, secret) = state.secrets.find(&caller.account, &wanted.secret_id)?;
        let mut answer = json!({
            "ARN": secret.arn, "Name": name, "CreatedDate": epoch(secret.created), "LastChangedDate": epoch(secret.changed),
        });
        if secret.value.is_some() {
            answer["VersionIdsToStages"] = json!({secret.version.as_str(): ["AWSCURRENT"]});
        }
        Ok(answer)
    })
}

fn create(world: &World, caller: &Caller, new: Create) -> Result<Value, AwsError> {
    world.change(|state| {
        let key = (caller.account.clone(), new.name.clone());
        if state.secrets.0.contains_key(&key) {
            let message = format!("The operation failed because the secret {} already exists.", new.name);
            return Err(AwsError::new("ResourceExistsException", message));
        }
        let mut secret = Secret::new(&caller.account, &new.name);
        let mut answer = json!({"ARN": secret.arn, "Name": new.name});
        // Without a value there is no version yet.
        if let Some(value) = new.secret_string {
            secret.set(value);
            answer["VersionId"] = json!(secret.version);
        }
        state.secrets.0.insert(key, secret);
        Ok(answer)
    })
}

fn put(world: &World, caller: &Caller, new: ById) -> Result<Value, AwsError> {
    let value = new
        .secret_string
        .ok_or_else(|| AwsError::new("InvalidParameterException", "You must provide SecretString."))?;
    world.change(|state| {
        let name = state.secrets.find(&caller.account, &new.secret_id)?.0.to_owned();
        state.secrets.write(&caller.account, &name, value);
        let (_, secret) = state.secrets.find(&caller.account, &name)?;
        Ok(json!({"ARN": secret.arn, "Name": name, "VersionId": secret.version, "VersionStages": ["AWSCURRENT"]}))
    })
}
