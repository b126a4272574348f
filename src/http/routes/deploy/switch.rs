//! `POST /api/v1/deploy/{id}/switch`: requests the traffic switch to green.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::command::{ChangeRequest, notify};
use super::freeze::FreezeOverride;
use crate::commands::idempotency::Idempotent;
use crate::commands::switch::{SwitchTerms, switch};
use crate::domain::message::{Message, message};
use crate::domain::principal::Caller;
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
    /// Id of the pause that was reviewed, as `pauses` of the result names it (`pauseId`). The switch is refused with `PAUSE_CHANGED` if another one awaits
    /// approval; absent, any pause is approved.
    #[schema(example = "hook-1:1767225600")]
    pub pause: Option<String>,
    /// Overrides the freeze that holds the switch, which is otherwise refused with `SWITCH_FROZEN`.
    #[serde(rename = "override")]
    pub freeze_override: Option<FreezeOverride>,
}

impl SwitchRequest {
    /// Reads the digest of a body, which has no meaning beside its known members.
    fn digest(body: &Value) -> Result<Option<&str>, ApiError> {
        Self::text(body, "imageDigest", || message!("rule.image_digest_text"))
    }

    /// Reads the id of the pause.
    fn pause(body: &Value) -> Result<Option<&str>, ApiError> {
        Self::text(body, "pause", || message!("rule.pause_text"))
    }

    fn text<'a>(body: &'a Value, name: &'static str, rule: fn() -> Message) -> Result<Option<&'a str>, ApiError> {
        match body.get(name) {
            None | Some(Value::Null) => Ok(None),
            // Postgres cannot store NUL, which no digest and no pause has.
            Some(Value::String(text)) if !text.contains('\0') => Ok(Some(text)),
            Some(_) => Err(ApiError::field(name, rule())),
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
    /// Side that receives the traffic: `green`; `blue` while approvals are missing.
    #[schema(example = "green")]
    pub active_service: &'static str,
    /// `IN_PROGRESS`: the event stream and the result report the end. `AWAITING_APPROVALS`: the approval was recorded, and the policy requires more.
    #[schema(example = "IN_PROGRESS")]
    pub switch_status: &'static str,
    /// Number of approvers that are still missing; absent when none is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 1)]
    pub missing_approvals: Option<i64>,
}

fn answer(id: &str, missing: i64) -> Value {
    let answer = Switching {
        message: format!("Traffic switch started. Listen to /api/v1/deploy/{id}/events"),
        deployment_id: id.to_owned(),
        active_service: "green",
        switch_status: "IN_PROGRESS",
        missing_approvals: None,
    };
    if missing <= 0 {
        return json!(Envelope::new("배포 전환이 시작되었습니다.", answer));
    }
    let message = format!("Approved. The switch needs {missing} more. Listen to /api/v1/deploy/{id}/events");
    let (active_service, switch_status) = ("blue", "AWAITING_APPROVALS");
    let awaiting = Switching { message, active_service, switch_status, missing_approvals: Some(missing), ..answer };
    json!(Envelope::new("배포 전환이 승인되었습니다.", awaiting))
}

// ---- Handler

/// Switch the traffic to green
///
/// Repeating the request while the switch is in progress returns the same response and changes nothing.
///
/// Before the traffic moves, the production listener and the health of green's targets are checked. If others changed the listener, or a target is not
/// healthy, the deployment stays `DEPLOYMENT_READY`, and the event `switch_refused` has the finding and what to do; the next request checks again.
#[utoipa::path(
    post, path = "/api/v1/deploy/{id}/switch", tag = "deployments", operation_id = "switchDeployment",
    params(("id" = String, Path, description = "Id of the deployment.", example = "dep_4k1zq0v7w3m9x2c8b5n6"), IdempotencyKeyHeader),
    request_body(content = Option<SwitchRequest>, description = "Optional: what the approver has reviewed.", content_type = "application/json"),
    responses(
        (status = 200, description = "The switch was requested, or approved where the policy requires more approvers.", body = Envelope<Switching>),
        (status = 400, description = "Invalid Idempotency-Key, a digest that is no text, a pause that is no text, or an override without a reason.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The caller is not an approver, or started the deployment while the server or the policy requires another approver.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The deployment is not ready to be switched, already switched, has another image than the named one or awaits approval of another pause, or a freeze or the policy holds the switch: `errorCode` says which.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { caller, .. }: RequireRole<Approver>,
    DeploymentId(id): DeploymentId,
    key: IdempotencyKeyHeader,
    body: UnreadBody,
) -> Result<Json<Value>, ApiError> {
    let four_eyes = state.auth.requires_four_eyes();
    requested(&state, caller, id, (key, body), four_eyes).await.map(Json)
}

/// Requests the switch, and returns the answer. `four_eyes` keeps the caller who started the deployment from it, whatever the policy says.
///
/// # Errors
/// The body is invalid, or the command refused the switch.
pub async fn requested(
    state: &ApiState,
    caller: Caller,
    id: String,
    (key, body): (IdempotencyKeyHeader, UnreadBody),
    four_eyes: bool,
) -> Result<Value, ApiError> {
    let (image_digest, freeze_override) =
        (SwitchRequest::digest(&body.0)?.map(str::to_owned), FreezeOverride::of(&body.0)?);
    let pause = SwitchRequest::pause(&body.0)?.map(str::to_owned);
    let terms = SwitchTerms {
        four_eyes,
        image_digest: image_digest.as_deref(),
        pause: pause.as_deref(),
        freeze_override: freeze_override.as_deref(),
    };
    let request = ChangeRequest::new(caller, (id.clone(), "switch"), (key, body), Value::Null)?;
    match switch(&state.db, request.change(), terms, |missing| answer(&id, missing)).await? {
        Idempotent::Replayed(answer) => Ok(answer),
        Idempotent::Fresh(answer) => {
            tracing::info!(deployment = %id, status = %answer["data"]["switchStatus"], "switch accepted");
            notify(state, &id).await;
            Ok(answer)
        }
    }
}
