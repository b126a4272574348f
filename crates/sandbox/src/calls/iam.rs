//! IAM: the calls about roles and their inline policies, and the simulation of policies, in the Query protocol. Paths of roles are not supported.

use std::borrow::Cow;
use std::collections::HashMap;

use chrono::{SecondsFormat, Utc};
use serde_json::Value;

use super::xml::{document, element};
use crate::accounts::{AwsCaller, random_upper};
use crate::aws::error::AwsError;
use crate::aws::service::AwsService;
use crate::simulation::Simulation;

type Form<'a> = HashMap<Cow<'a, str>, Cow<'a, str>>;

pub fn call(simulation: &Simulation, caller: &AwsCaller, operation: &str, body: &[u8]) -> Result<String, AwsError> {
    let form: Form<'_> = url::form_urlencoded::parse(body).collect();
    let result = match operation {
        "GetRole" => get_role(simulation, caller, &form)?,
        "CreateRole" => create_role(simulation, caller, &form)?,
        "GetRolePolicy" => get_policy(simulation, caller, &form)?,
        "PutRolePolicy" => put_policy(simulation, caller, &form)?,
        "SimulatePrincipalPolicy" => simulate(simulation, caller, &form)?,
        other => {
            tracing::warn!(operation = other, "sandbox: unknown operation of IAM");
            let message = format!("Could not find operation {other} for version 2010-05-08");
            return Err(AwsError::new("InvalidAction", message));
        }
    };
    Ok(document(AwsService::Iam, operation, &result))
}

fn get_role(simulation: &Simulation, caller: &AwsCaller, form: &Form<'_>) -> Result<String, AwsError> {
    let (name, arn) = role(caller, form)?;
    let trust = simulation.accounts.trust_policy(&arn).ok_or_else(|| missing(name))?;
    Ok(role_element(name, &arn, &trust))
}

fn create_role(simulation: &Simulation, caller: &AwsCaller, form: &Form<'_>) -> Result<String, AwsError> {
    let (name, arn) = role(caller, form)?;
    let trust = policy(form, "AssumeRolePolicyDocument")?;
    if simulation.accounts.trust_policy(&arn).is_some() {
        let message = format!("Role with name {name} already exists.");
        return Err(AwsError {
            status: axum::http::StatusCode::CONFLICT,
            ..AwsError::new("EntityAlreadyExists", message)
        });
    }
    simulation.accounts.put_role(&arn, trust.clone());
    Ok(role_element(name, &arn, &trust))
}

fn get_policy(simulation: &Simulation, caller: &AwsCaller, form: &Form<'_>) -> Result<String, AwsError> {
    let (name, arn) = role(caller, form)?;
    let policy_name = parameter(form, "PolicyName")?;
    simulation.accounts.trust_policy(&arn).ok_or_else(|| missing(name))?;
    let found = simulation.accounts.role_policy(&arn, policy_name).ok_or_else(|| {
        let message = format!("The role policy with name {policy_name} cannot be found.");
        AwsError { status: axum::http::StatusCode::NOT_FOUND, ..AwsError::new("NoSuchEntity", message) }
    })?;
    Ok(element("RoleName", name) + &element("PolicyName", policy_name) + &element("PolicyDocument", &encoded(&found)))
}

fn put_policy(simulation: &Simulation, caller: &AwsCaller, form: &Form<'_>) -> Result<String, AwsError> {
    let (name, arn) = role(caller, form)?;
    simulation.accounts.trust_policy(&arn).ok_or_else(|| missing(name))?;
    let document = policy(form, "PolicyDocument")?;
    simulation.accounts.put_role_policy(&arn, parameter(form, "PolicyName")?, document);
    Ok(String::new())
}

/// The sandbox has no policies of identities: an action is permitted unless its call is denied by a fault.
fn simulate(simulation: &Simulation, caller: &AwsCaller, form: &Form<'_>) -> Result<String, AwsError> {
    let source = parameter(form, "PolicySourceArn")?;
    let of_account = source.starts_with(&format!("arn:aws:iam::{}:", caller.account));
    let is_user = source.contains(":user/");
    if !of_account || !is_user && simulation.accounts.trust_policy(source).is_none() {
        let message = format!("The identity {source} cannot be found.");
        return Err(AwsError { status: axum::http::StatusCode::NOT_FOUND, ..AwsError::new("NoSuchEntity", message) });
    }
    let resource = form.get("ResourceArns.member.1").map_or("*", AsRef::as_ref);
    let actions = (1..).map_while(|number| form.get(format!("ActionNames.member.{number}").as_str()));
    let mut results = String::new();
    for action in actions {
        let denied = simulation.faults.get().calls.get(action.as_ref()).is_some_and(|fault| fault.deny);
        let decision = if denied { "implicitDeny" } else { "allowed" };
        let result = element("EvalActionName", action)
            + &element("EvalResourceName", resource)
            + &element("EvalDecision", decision);
        results.extend(["<member>", &result, "</member>"]);
    }
    if results.is_empty() {
        return Err(AwsError::new("InvalidInput", "ActionNames is required".to_owned()));
    }
    Ok(format!("<EvaluationResults>{results}</EvaluationResults>") + &element("IsTruncated", "false"))
}

/// Name and ARN of the role that the request names.
fn role<'a>(caller: &AwsCaller, form: &'a Form<'_>) -> Result<(&'a str, String), AwsError> {
    let name = parameter(form, "RoleName")?;
    let fits = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c);
    if name.len() > 64 || !name.chars().all(fits) {
        return Err(AwsError::new("ValidationError", "The specified value for roleName is invalid.".to_owned()));
    }
    Ok((name, format!("arn:aws:iam::{}:role/{name}", caller.account)))
}

fn parameter<'a>(form: &'a Form<'_>, name: &str) -> Result<&'a str, AwsError> {
    let value = form.get(name).filter(|value| !value.is_empty());
    value.map(AsRef::as_ref).ok_or_else(|| AwsError::new("ValidationError", format!("{name} is required")))
}

fn policy(form: &Form<'_>, name: &str) -> Result<Value, AwsError> {
    let parsed: Option<Value> = serde_json::from_str(parameter(form, name)?).ok();
    let policy = parsed.filter(|policy| policy["Statement"].is_array() || policy["Statement"].is_object());
    policy.ok_or_else(|| AwsError::new("MalformedPolicyDocument", "Syntax errors in policy.".to_owned()))
}

/// IAM returns documents URL-encoded (RFC 3986).
fn encoded(document: &Value) -> String {
    let form: String = url::form_urlencoded::byte_serialize(document.to_string().as_bytes()).collect();
    form.replace('+', "%20")
}

fn role_element(name: &str, arn: &str, trust: &Value) -> String {
    let inner = element("Path", "/")
        + &element("RoleName", name)
        + &element("RoleId", &format!("AROA{}", random_upper(17)))
        + &element("Arn", arn)
        + &element("CreateDate", &Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true))
        + &element("AssumeRolePolicyDocument", &encoded(trust));
    format!("<Role>{inner}</Role>")
}

fn missing(name: &str) -> AwsError {
    let message = format!("The role with name {name} cannot be found.");
    AwsError { status: axum::http::StatusCode::NOT_FOUND, ..AwsError::new("NoSuchEntity", message) }
}
