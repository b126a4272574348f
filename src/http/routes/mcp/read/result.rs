//! `get_result`: all facts of a deployment, as `GET /api/v1/deploy/{id}/result`.

use rmcp::model::JsonObject;

use super::super::answer::ToolAnswer;
use super::super::arguments::{finish, take_deployment};
use super::super::caller::ToolCaller;
use crate::http::error::ApiError;
use crate::http::routes::deploy::result::{deployment, result_of};

const UNTRUSTED: &[&str] = &[
    "branch",
    "requested",
    "commitAuthor",
    "commitSubject",
    "labels",
    "errorMessage",
    "attempts[].errorMessage",
    "heldBy",
];

/// Reads a deployment's result.
pub async fn call(call: &ToolCaller, mut arguments: JsonObject) -> Result<ToolAnswer, ApiError> {
    let id = take_deployment(&mut arguments)?;
    finish(&arguments, "`deploymentId`")?;
    let row = deployment(&call.state, &call.caller, id).await?;
    Ok(ToolAnswer::new(&result_of(&call.state, row, Some(call.lang)).await?, UNTRUSTED))
}
