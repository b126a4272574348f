//! The calls about the policy of a bus.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::accounts::AwsCaller;
use crate::aws::error::AwsError;
use crate::aws::events::Bus;
use crate::aws::events::policy::document;
use crate::effects::count;
use crate::simulation::Simulation;

const MAX_POLICY_BYTES: usize = 10_240;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PutPermission {
    event_bus_name: Option<String>,
    action: Option<String>,
    principal: Option<String>,
    statement_id: Option<String>,
    condition: Option<Condition>,
    policy: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Condition {
    #[serde(rename = "Type")]
    kind: String,
    key: String,
    value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Remove {
    event_bus_name: Option<String>,
    statement_id: Option<String>,
    #[serde(default, rename = "RemoveAllPermissions")]
    everything: bool,
}

pub async fn put(simulation: &Simulation, caller: &AwsCaller, wanted: PutPermission) -> Result<Value, AwsError> {
    let bus = plain_name(wanted.event_bus_name.as_deref())?;
    let (arn, mut statements) = read(simulation, caller, bus)?;
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
    if document(&statements).len() > MAX_POLICY_BYTES {
        return Err(AwsError::new(
            "PolicyLengthExceededException",
            "The event bus policy would be longer than 10240 bytes.",
        ));
    }
    write(simulation, caller, bus, statements).await?;
    simulation
        .change(|state| count(&mut state.effects.permissions, wanted.statement_id.as_deref().unwrap_or("policy")));
    Ok(json!({}))
}

pub async fn remove(simulation: &Simulation, caller: &AwsCaller, wanted: Remove) -> Result<Value, AwsError> {
    let bus = plain_name(wanted.event_bus_name.as_deref())?;
    let (_, mut statements) = read(simulation, caller, bus)?;
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
    write(simulation, caller, bus, statements).await?;
    Ok(json!({}))
}

fn read(simulation: &Simulation, caller: &AwsCaller, bus: Option<&str>) -> Result<(String, Vec<Value>), AwsError> {
    simulation.read(|state| state.buses.find(caller, bus).map(|found: &Bus| (found.arn(), found.statements.clone())))
}

/// Overwrites the policy after a delay: a concurrent write in between is lost, as in the real one.
async fn write(
    simulation: &Simulation,
    caller: &AwsCaller,
    bus: Option<&str>,
    statements: Vec<Value>,
) -> Result<(), AwsError> {
    tokio::time::sleep(simulation.timing.permission_write).await;
    simulation.change(|state| {
        state.buses.find_mut(caller, bus)?.statements = statements;
        Ok(())
    })
}

fn statement(wanted: &PutPermission, arn: &str) -> Result<Value, AwsError> {
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
    if let Some(Condition { kind, key, value }) = &wanted.condition {
        if kind != "StringEquals" || key != "aws:PrincipalOrgID" {
            return Err(invalid("Only the condition StringEquals of aws:PrincipalOrgID is supported.".to_owned()));
        }
        statement["Condition"] = json!({"StringEquals": {"aws:PrincipalOrgID": value}});
    }
    Ok(statement)
}

/// Validates a bus name: unlike the other calls, `PutPermission` and `RemovePermission` do not accept an ARN.
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
    use crate::aws::events::policy::permits;

    const ARN: &str = "arn:aws:events:ap-northeast-2:123456789012:event-bus/panda";

    fn allowing(principal: &str) -> Value {
        let put = PutPermission {
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
    fn statement_permits_only_its_account() {
        let statements = [allowing("210987654321")];
        assert!(permits(&statements, "210987654321", ARN));
        assert!(!permits(&statements, "111111111111", ARN));
        assert!(!permits(&statements, "210987654321", "arn:aws:events:ap-northeast-2:123456789012:event-bus/other"));
        assert!(permits(&[allowing("*")], "111111111111", ARN));
        assert!(!permits(&[], "210987654321", ARN));
    }

    #[test]
    fn ignores_statements_with_conditions() {
        let mut statement = allowing("*");
        statement["Condition"] = json!({"StringEquals": {"aws:PrincipalOrgID": "o-1"}});
        assert!(!permits(&[statement], "210987654321", ARN));
    }
}
