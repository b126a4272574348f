//! STS: `GetCallerIdentity` and `AssumeRole` in the Query protocol, with form input and XML output.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::RangeInclusive;

use chrono::{SecondsFormat, TimeDelta, Utc};

use super::xml::{document, element};
use crate::accounts::{AwsCaller, random_upper};
use crate::aws::error::AwsError;
use crate::aws::service::AwsService;
use crate::aws::trust;
use crate::simulation::Simulation;

pub fn call(simulation: &Simulation, caller: &AwsCaller, operation: &str, body: &[u8]) -> Result<String, AwsError> {
    let form: HashMap<Cow<str>, Cow<str>> = url::form_urlencoded::parse(body).collect();
    match operation {
        "GetCallerIdentity" => Ok(document(AwsService::Sts, "GetCallerIdentity", &identity(caller))),
        "AssumeRole" => Ok(document(AwsService::Sts, "AssumeRole", &assume_role(simulation, caller, &form)?)),
        other => {
            tracing::warn!(operation = other, "sandbox: unknown operation of STS");
            Err(AwsError::new("InvalidAction", format!("Could not find operation {other} for version 2011-06-15")))
        }
    }
}

fn identity(caller: &AwsCaller) -> String {
    element("Arn", &caller.arn) + &element("UserId", &caller.user_id) + &element("Account", &caller.account)
}

fn assume_role(
    simulation: &Simulation,
    caller: &AwsCaller,
    form: &HashMap<Cow<str>, Cow<str>>,
) -> Result<String, AwsError> {
    let parameter = |name: &str| {
        form.get(name)
            .filter(|value| !value.is_empty())
            .ok_or_else(|| AwsError::new("ValidationError", format!("{name} is required")))
    };
    let role = parameter("RoleArn")?;
    let session = parameter("RoleSessionName")?;
    let external_id = form.get("ExternalId").map(AsRef::as_ref);
    fits("RoleArn", role, 20..=2048, "+=,.@_/:-")?;
    fits("RoleSessionName", session, 2..=64, "+=,.@_-")?;
    if let Some(id) = external_id {
        fits("ExternalId", id, 2..=1224, "+=,.@_:/-")?;
    }
    let seconds = form.get("DurationSeconds").map_or(Ok(3600), |text| text.parse()).unwrap_or_default();
    if !(900..=43_200).contains(&seconds) {
        return Err(AwsError::new("ValidationError", "DurationSeconds must be from 900 to 43200".to_owned()));
    }
    let invalid = || AwsError::new("ValidationError", format!("{role} is invalid"));
    let (account, path) =
        role.strip_prefix("arn:aws:iam::").and_then(|rest| rest.split_once(":role/")).ok_or_else(invalid)?;
    let name = path.rsplit('/').next().unwrap_or_default();
    // An unknown role gets the same error as a role that does not trust the caller.
    let policy = simulation.accounts.trust_policy(role);
    let request = trust::Request { account: &caller.account, caller: &caller.arn, external_id, session };
    if !policy.is_some_and(|policy| trust::allows(&policy, &request)) {
        return Err(AwsError::forbidden(
            "AccessDenied",
            format!("User: {} is not authorized to perform: sts:AssumeRole on resource: {role}", caller.arn),
        ));
    }
    let role_id = format!("AROA{}", random_upper(17));
    let assumed = AwsCaller {
        account: account.to_owned(),
        arn: format!("arn:aws:sts::{account}:assumed-role/{name}/{session}"),
        user_id: format!("{role_id}:{session}"),
    };
    let shortened = simulation.faults.look(|faults| faults.session_ms).and_then(|millis| i64::try_from(millis).ok());
    let end = Utc::now() + shortened.map_or(TimeDelta::seconds(seconds), TimeDelta::milliseconds);
    let expires = end.to_rfc3339_opts(SecondsFormat::Secs, true);
    let (key, secret, token) = simulation.accounts.open_session(assumed.clone(), Some(end));
    let user = element("Arn", &assumed.arn) + &element("AssumedRoleId", &assumed.user_id);
    let credentials = element("AccessKeyId", &key)
        + &element("SecretAccessKey", &secret)
        + &element("SessionToken", &token)
        + &element("Expiration", &expires);
    Ok(format!("<AssumedRoleUser>{user}</AssumedRoleUser><Credentials>{credentials}</Credentials>"))
}

/// Checks the length, and that the value consists of letters, digits and `others`.
fn fits(name: &str, value: &str, length: RangeInclusive<usize>, others: &str) -> Result<(), AwsError> {
    if length.contains(&value.len()) && value.chars().all(|c| c.is_ascii_alphanumeric() || others.contains(c)) {
        return Ok(());
    }
    let rule = format!("1 validation error detected: Value at '{name}' failed to satisfy constraint");
    Err(AwsError::new("ValidationError", rule))
}
