//! `POST /api/v1/deploy/{id}/switch`: requests the traffic switch to green.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::command::ChangeRequest;
use crate::commands::switch::{SwitchTerms, switch};
use crate::domain::message::message;
use crate::http::ApiState;
use crate::http::auth::{Approver, RequireRole};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;
use crate::http::extract::UnreadBody;
use crate::http::idempotency::IdempotencyKeyHeader;
use crate::http::json::Json;
use crate::http::routes::deploy::path::DeploymentId;

// ---- Request

/// What the approver has reviewed. Other members have no meaning.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SwitchRequest {
    /// Digest of the image to switch to. The switch is refused with `IMAGE_CHANGED` if another image is ready; absent, any image is switched to.
    #[schema(example = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08")]
    pub image_digest: Option<String>,
}

impl SwitchRequest {
    /// Reads a body, which has no meaning beside this member.
    fn of(body: &Value) -> Result<Self, ApiError> {
        match body.get("imageDigest") {
            None | Some(Value::Null) => Ok(Self::default()),
            Some(Value::String(digest)) => Ok(Self { image_digest: Some(digest.clone()) }),
            Some(_) => Err(ApiError::field("imageDigest", message!("rule.image_digest_text"))),
        }
    }
}

// ---- Response

/// Confirms that the switch was requested.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Switching {
    /// Id from the request's path.
    #[schema(example = "dep_4k1zq0v7w3m9x2c8b5n6")]
    pub deployment_id: String,
    /// Text with the path of the event stream.
    #[schema(example = "Traffic switch started. Listen to /api/v1/deploy/dep_4k1zq0v7w3m9x2c8b5n6/events")]
    pub message: String,
    /// Side that receives the traffic: always `green`.
    #[schema(example = "green")]
    pub active_service: &'static str,
    /// Always `IN_PROGRESS`; the event stream and the result report the end.
    #[schema(example = "IN_PROGRESS")]
    pub switch_status: &'static str,
}

// ---- Handler

/// Switch the traffic to green
///
/// Repeating the request while the switch is in progress returns the same response and changes nothing.
#[utoipa::path(
    post, path = "/api/v1/deploy/{id}/switch", tag = "deployments", operation_id = "switchDeployment",
    params(("id" = String, Path, description = "Id of the deployment.", example = "dep_4k1zq0v7w3m9x2c8b5n6"), IdempotencyKeyHeader),
    request_body(content = Option<SwitchRequest>, description = "Optional: what the approver has reviewed.", content_type = "application/json"),
    responses(
        (status = 200, description = "The switch was requested.", body = Envelope<Switching>),
        (status = 400, description = "Invalid Idempotency-Key, or a digest that is no text.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The caller is not an approver, or started the deployment while the server requires another approver.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The deployment is not ready to be switched, already switched, or has another image than the named one: `errorCode` says which.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { caller, .. }: RequireRole<Approver>,
    DeploymentId(id): DeploymentId,
    key: IdempotencyKeyHeader,
    body: UnreadBody,
) -> Result<Json<Value>, ApiError> {
    let answer = json!(Envelope::new(
        "배포 전환이 시작되었습니다.",
        Switching {
            message: format!("Traffic switch started. Listen to /api/v1/deploy/{id}/events"),
            deployment_id: id.clone(),
            active_service: "green",
            switch_status: "IN_PROGRESS",
        },
    ));
    let SwitchRequest { image_digest } = SwitchRequest::of(&body.0)?;
    let terms = SwitchTerms { four_eyes: state.auth.requires_four_eyes(), image_digest: image_digest.as_deref() };
    let request = ChangeRequest::new(caller, (id, "switch"), (key, body), answer)?;
    let outcome = switch(&state.db, request.change(), terms).await;
    Ok(Json(request.answer(&state, outcome).await?))
}
