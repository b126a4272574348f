//! Arguments of a tool's call, as the requests of the endpoints that it stands for.

use rmcp::model::JsonObject;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::commands::deploy::error::DeployError;
use crate::domain::message::message;
use crate::domain::text;
use crate::http::error::ApiError;
use crate::http::extract::{self, MAX_NAME, is_id};

/// Reads arguments of the types that `T` has.
///
/// # Errors
/// The argument that is invalid, missing or unknown.
pub fn read<T: DeserializeOwned>(arguments: &JsonObject) -> Result<T, ApiError> {
    // Only texts, numbers, lists and objects, so serialisation cannot fail.
    extract::parse(&serde_json::to_vec(arguments).unwrap_or_default())
}

/// Reads arguments that the endpoint has as query parameters, which are texts.
///
/// # Errors
/// The argument that is invalid or unknown.
pub fn read_query<T: DeserializeOwned>(arguments: JsonObject) -> Result<T, ApiError> {
    let text = |value| if let Value::Number(number) = value { Value::String(number.to_string()) } else { value };
    read(&arguments.into_iter().map(|(name, value)| (name, text(value))).collect())
}

/// Removes an argument that is a text.
///
/// # Errors
/// It is no text.
pub fn take_text(arguments: &mut JsonObject, name: &'static str) -> Result<Option<String>, ApiError> {
    match arguments.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(ApiError::field(name, message!("rule.expected", expected = "a string"))),
    }
}

/// Removes an argument that is a whole number from `range`; `default` when it is absent.
///
/// # Errors
/// It is no such number.
pub fn take_number(
    arguments: &mut JsonObject,
    name: &'static str,
    range: std::ops::RangeInclusive<i64>,
    default: i64,
) -> Result<i64, ApiError> {
    let Some(value) = arguments.remove(name).filter(|value| !value.is_null()) else { return Ok(default) };
    let (min, max) = (*range.start(), *range.end());
    let number = value.as_i64().filter(|number| range.contains(number));
    number.ok_or_else(|| ApiError::field(name, message!("rule.number_from_to", min, max)))
}

/// Removes the id of the deployment.
///
/// # Errors
/// It is missing, or no deployment can have it.
pub fn take_deployment(arguments: &mut JsonObject) -> Result<String, ApiError> {
    let id = take_text(arguments, "deploymentId")?
        .ok_or_else(|| ApiError::field("deploymentId", message!("rule.missing")))?;
    if is_id(&id) { Ok(id) } else { Err(DeployError::NotFound(text::cut(&id, MAX_NAME)).into()) }
}

/// Requires that no argument is left.
///
/// # Errors
/// An argument that the tool does not have.
pub fn finish(arguments: &JsonObject, known: &str) -> Result<(), ApiError> {
    match arguments.keys().next() {
        None => Ok(()),
        Some(name) => Err(ApiError::field(text::cut(name, MAX_NAME), message!("rule.unknown_field", known))),
    }
}
