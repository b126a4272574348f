//! The calls of Secrets Manager.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{input, unknown};
use crate::accounts::AwsCaller;
use crate::aws::epoch;
use crate::aws::error::AwsError;
use crate::aws::secrets::Secret;
use crate::simulation::Simulation;

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

pub fn call(simulation: &Simulation, caller: &AwsCaller, operation: &str, body: &[u8]) -> Result<Value, AwsError> {
    match operation {
        "GetSecretValue" => get(simulation, caller, &input(body)?),
        "DescribeSecret" => describe(simulation, caller, &input(body)?),
        "CreateSecret" => recorded(simulation, || create(simulation, caller, input(body)?)),
        "PutSecretValue" => recorded(simulation, || put(simulation, caller, input(body)?)),
        other => Err(unknown("secretsmanager", other)),
    }
}

/// Makes a change that reads see later, where they lag.
fn recorded(simulation: &Simulation, change: impl FnOnce() -> Result<Value, AwsError>) -> Result<Value, AwsError> {
    simulation.before_change();
    let answer = change();
    simulation.after_change();
    answer
}

fn get(simulation: &Simulation, caller: &AwsCaller, wanted: &ById) -> Result<Value, AwsError> {
    simulation.secrets(|secrets| {
        let (name, secret) = secrets.find(&caller.account, &wanted.secret_id)?;
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

fn describe(simulation: &Simulation, caller: &AwsCaller, wanted: &ById) -> Result<Value, AwsError> {
    simulation.secrets(|secrets| {
        let (name, secret) = secrets.find(&caller.account, &wanted.secret_id)?;
        let mut answer = json!({
            "ARN": secret.arn, "Name": name, "CreatedDate": epoch(secret.created), "LastChangedDate": epoch(secret.changed),
        });
        if secret.value.is_some() {
            answer["VersionIdsToStages"] = json!({secret.version.as_str(): ["AWSCURRENT"]});
        }
        Ok(answer)
    })
}

fn create(simulation: &Simulation, caller: &AwsCaller, new: Create) -> Result<Value, AwsError> {
    simulation.change(|state| {
        let key = (caller.account.clone(), new.name.clone());
        if state.secrets.0.contains_key(&key) {
            let message = format!("The operation failed because the secret {} already exists.", new.name);
            return Err(AwsError::new("ResourceExistsException", message));
        }
        let mut secret = Secret::new(&caller.account, &new.name);
        let mut answer = json!({"ARN": secret.arn, "Name": new.name});
        // A secret without a value has no version.
        if let Some(value) = new.secret_string {
            secret.set(value);
            answer["VersionId"] = json!(secret.version);
        }
        state.secrets.0.insert(key, secret);
        Ok(answer)
    })
}

fn put(simulation: &Simulation, caller: &AwsCaller, new: ById) -> Result<Value, AwsError> {
    let value = new
        .secret_string
        .ok_or_else(|| AwsError::new("InvalidParameterException", "You must provide SecretString."))?;
    simulation.change(|state| {
        let name = state.secrets.find(&caller.account, &new.secret_id)?.0.to_owned();
        state.secrets.write(&caller.account, &name, value);
        let (_, secret) = state.secrets.find(&caller.account, &name)?;
        Ok(json!({"ARN": secret.arn, "Name": name, "VersionId": secret.version, "VersionStages": ["AWSCURRENT"]}))
    })
}
