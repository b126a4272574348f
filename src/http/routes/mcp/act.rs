//! Tools that change something. Each is the command of its endpoint, with the caller's role and scope.

use axum::http::HeaderMap;
use rmcp::model::JsonObject;
use serde_json::{Value, json};

use super::answer::ToolAnswer;
use super::arguments::{finish, read, take_deployment, take_text};
use super::caller::ToolCaller;
use super::error::McpError;
use crate::domain::message::message;
use crate::http::auth::Approver;
use crate::http::error::ApiError;
use crate::http::extract::{JsonBody, UnreadBody};
use crate::http::idempotency::IdempotencyKeyHeader;
use crate::http::json::Json;
use crate::http::routes::deploy;
use crate::http::routes::deploy::path::DeploymentId;

/// Arguments of every tool that acts on one deployment.
const ON_ONE: &str = "`deploymentId`, `idempotencyKey`";

/// Starts a deployment, as `POST /api/v1/deploy`.
pub async fn deploy(call: &ToolCaller, mut arguments: JsonObject) -> Result<ToolAnswer, ApiError> {
    let role = call.role()?;
    let key = key(&mut arguments)?;
    // An agent never overrides a freeze.
    if arguments.contains_key("override") {
        return Err(ApiError::field("override", message!("rule.unknown_field", known = "those of `tools/list`")));
    }
    let body = JsonBody(read(&arguments)?);
    let Json(answer) = deploy::create::handle(call.state(), role, key, HeaderMap::new(), body).await?;
    Ok(requested(&answer))
}

/// Cancels a deployment, as `POST /api/v1/deploy/{id}/cancel`.
pub async fn cancel(call: &ToolCaller, mut arguments: JsonObject) -> Result<ToolAnswer, ApiError> {
    let role = call.role()?;
    let (id, key) = (take_deployment(&mut arguments)?, key(&mut arguments)?);
    finish(&arguments, ON_ONE)?;
    let Json(answer) =
        deploy::cancel::handle(call.state(), role, DeploymentId(id), key, UnreadBody(Value::Null)).await?;
    Ok(requested(&answer))
}

/// Switches the traffic, as `POST /api/v1/deploy/{id}/switch`, but never for the caller who started the deployment, whatever the server and the
/// policy permit: an agent that deploys and switches would leave no person between.
pub async fn switch(call: &ToolCaller, mut arguments: JsonObject) -> Result<ToolAnswer, ApiError> {
    let caller = call.role::<Approver>()?.caller;
    // Without a subject, the command cannot compare.
    if caller.principal.known_subject().is_none() {
        return Err(McpError::SwitchNeedsSignIn.into());
    }
    let (id, key) = (take_deployment(&mut arguments)?, key(&mut arguments)?);
    let digest = take_text(&mut arguments, "imageDigest")?;
    let digest = digest.ok_or_else(|| ApiError::field("imageDigest", message!("rule.missing")))?;
    let pause = take_text(&mut arguments, "pause")?;
    finish(&arguments, "`deploymentId`, `imageDigest`, `pause`, `idempotencyKey`")?;
    let body = UnreadBody(json!({"imageDigest": digest, "pause": pause}));
    let answer = deploy::switch::requested(&call.state, caller, id, (key, body), true).await?;
    Ok(requested(&answer))
}

fn key(arguments: &mut JsonObject) -> Result<IdempotencyKeyHeader, ApiError> {
    Ok(IdempotencyKeyHeader::of(take_text(arguments, "idempotencyKey")?.as_deref()))
}

/// The data of the endpoint's answer.
fn requested(answer: &Value) -> ToolAnswer {
    ToolAnswer::new(&answer["data"], &["heldBy"])
}
