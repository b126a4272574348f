//! A bus's resource policy: who may put events on it.

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::super::accounts::Caller;
use super::super::super::effects::count;
use super::super::super::world::World;
use super::super::error::AwsError;
use super::Bus;

const LONGEST_POLICY: usize = 10_240;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Put {
    event_bus_name: Option<String>,
    action: Option<String>,
    principal: Option<String>,
    statement_id: Option<String>,
    condition: Option<Value>,
    policy: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Remove {
    event_bus_name: Option<String>,
    statement_id: Option<String>,
    #[serde(default, rename = "RemoveAllPermissions")]
    everything: bool,
}

/// The policy as the JSON text that `DescribeEventBus` shows.
pub fn document(statements: &[Value]) -> String {
    json!({"Version": "2012-10-17", "Statement": statements}).to_string()
}

/// Whether some statement lets `account` put events on the bus `arn`. A statement with a condition never does: conditions
/// are about organizations, which do not exist here.
pub fn permits(statements: &[Value], account: &str, arn: &str) -> bool {
    let root = format!("arn:aws:iam::{account}:root");
    let has = |value: &Value, wanted: &[&str]| match value {
        Value::String(one) => wanted.contains(&one.as_str()),
        Value::Array(many) => many.iter().any(|one| one.as_str().is_some_and(|one| wanted.contains(&one))),
        _ => false,
    };
    let everyone = Value::String("*".to_owned());
    statements.iter().any(|statement| {
        let principal = &statement["Principal"];
        statement["Effect"] == "Allow"
            && statement.get("Condition").is_none()
            && (*principal == everyone || has(&principal["AWS"], &[&root, account, "*"]))
            && has(&statement["Action"], &["events:PutEvents", "events:*", "*"])
            && has(&statement["Resource"], &[arn, "*"])
    })
}

pub async fn put(world: &World, caller: &Caller, wanted: Put) -> Result<Value, AwsError> {
    let bus = plain_name(wanted.event_bus_name.as_deref())?;
    let (arn, mut statements) = read(world, caller, bus)?;
    if let Some(policy) = &wanted.policy {
        let parsed: Value =
            serde_json::from_str(policy).map_err(|error| invalid(format!("Policy is not JSON: {error}")))?;
        statements = parsed["Statement"]
            .as_array()
            .cloned()
            .ok_or_else(|| invalid("Policy has no Statement list".to_owned()))?;
    } else {
        let statement = statement(&wanted, &arn)?;
        statements.retain(|old| old["Sid"] != statement["Sid"]);
        statements.push(statement);
    }
    if document(&statements).len() > LONGEST_POLICY {
        return Err(AwsError::new(
            "PolicyLengthExceededException",
            "The event bus policy would be longer than 10240 bytes.",
        ));
    }
    write(world, caller, bus, statements).await?;
    world.change(|state| count(&mut state.effects.permissions, wanted.statement_id.as_deref().unwrap_or("policy")));
    Ok(json!({}))
}

pub async fn remove(world: &World, caller: &Caller, wanted: Remove) -> Result<Value, AwsError> {
    let bus = plain_name(wanted.event_bus_name.as_deref())?;
    let (_, mut statements) = read(world, caller, bus)?;
    let before = statements.len();
    if wanted.everything {
        statements.clear();
    } else {
        let sid = wanted.statement_id.ok_or_else(|| invalid("StatementId is required".to_owned()))?;
        statements.retain(|old| old["Sid"] != sid.as_str());
        if statements.len() == before {
            return Err(AwsError::new(
                "ResourceNotFoundException",
                format!("Statement with StatementId {sid} does not exist."),
            ));
        }
    }
    write(world, caller, bus, statements).await?;
    Ok(json!({}))
}

fn read(world: &World, caller: &Caller, bus: Option<&str>) -> Result<(String, Vec<Value>), AwsError> {
    world.read(|state| state.buses.find(caller, bus).map(|found: &Bus| (found.arn(), found.statements.clone())))
}

/// Writes the policy that was read a moment ago: what somebody else wrote in between is lost, as it is in the real one.
async fn write(world: &World, caller: &Caller, bus: Option<&str>, statements: Vec<Value>) -> Result<(), AwsError> {
    tokio::time::sleep(world.timing.permission_write).await;
    world.change(|state| {
        state.buses.find_mut(caller, bus)?.statements = statements;
        Ok(())
    })
}

fn statement(wanted: &Put, arn: &str) -> Result<Value, AwsError> {
    let field =
        |name: &str, value: &Option<String>| value.clone().ok_or_else(|| invalid(format!("{name} is required")));
    let action = field("Action", &wanted.action)?;
    let principal = field("Principal", &wanted.principal)?;
    let sid = field("StatementId", &wanted.statement_id)?;
    if action != "events:PutEvents" {
        return Err(invalid(format!("Provided value in parameter 'action' is not supported: {action}")));
    }
    if sid.is_empty()
        || sid.len() > 64
        || !sid.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    {
        return Err(invalid(
            "Value at 'statementId' must satisfy regular expression pattern: [a-zA-Z0-9-_]{1,64}".to_owned(),
        ));
    }
    let account = principal.len() == 12 && principal.bytes().all(|byte| byte.is_ascii_digit());
    if !account && principal != "*" {
        return Err(invalid(r"Value at 'principal' must satisfy regular expression pattern: (\d{12}|\*)".to_owned()));
    }
    let who = if account { json!({"AWS": format!("arn:aws:iam::{principal}:root")}) } else { json!("*") };
    let mut statement = json!({"Sid": sid, "Effect": "Allow", "Principal": who, "Action": action, "Resource": arn});
    if let Some(condition) = &wanted.condition {
        statement["Condition"] = condition.clone();
    }
    Ok(statement)
}

/// These two calls take a bus's name and, unlike the others, not its ARN.
fn plain_name(bus: Option<&str>) -> Result<Option<&str>, AwsError> {
    match bus {
        Some(name) if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte)) => Err(invalid(
            r"Value at 'eventBusName' must satisfy regular expression pattern: [\.\-_A-Za-z0-9]+".to_owned(),
        )),
        other => Ok(other),
    }
}

fn invalid(message: String) -> AwsError {
    AwsError::new("ValidationException", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARN: &str = "arn:aws:events:ap-northeast-2:123456789012:event-bus/panda";

    fn allowing(principal: &str) -> Value {
        let put = Put {
            event_bus_name: None,
            action: Some("events:PutEvents".to_owned()),
            principal: Some(principal.to_owned()),
            statement_id: Some("panda".to_owned()),
            condition: None,
            policy: None,
        };
        statement(&put, ARN).unwrap()
    }

    #[test]
    fn a_statement_permits_its_account_and_no_other() {
        let statements = [allowing("210987654321")];
        assert!(permits(&statements, "210987654321", ARN));
        assert!(!permits(&statements, "111111111111", ARN));
        assert!(!permits(&statements, "210987654321", "arn:aws:events:ap-northeast-2:123456789012:event-bus/other"));
        assert!(permits(&[allowing("*")], "111111111111", ARN));
        assert!(!permits(&[], "210987654321", ARN));
    }

    #[test]
    fn a_condition_is_never_taken_as_met() {
        let mut statement = allowing("*");
        statement["Condition"] = json!({"StringEquals": {"aws:PrincipalOrgID": "o-1"}});
        assert!(!permits(&[statement], "210987654321", ARN));
    }
}
