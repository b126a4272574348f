//! `POST /api/v1/deploy/{id}/switch`: requests the traffic switch to green.

use axum::extract::State;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::command::ChangeRequest;
use crate::commands::switch::switch;
use crate::http::ApiState;
use crate::http::auth::{Approver, RequireRole};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;
use crate::http::extract::UnreadBody;
use crate::http::idempotency::IdempotencyKeyHeader;
use crate::http::json::Json;
use crate::http::routes::deploy::path::DeploymentId;

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
    params(("id" = String, Path, description = "Id of the deployment.", example = "dep_4k1zq0v7w3m9x2c8b5n6"),
           ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters, unique per request; the first response is kept for 24 hours.",
            example = "3f2b6c1e-5d0f-4a53-9d53-6f8f2a1c7e10", max_length = 255)),
    responses(
        (status = 200, description = "The switch was requested.", body = Envelope<Switching>),
        (status = 400, description = "Invalid Idempotency-Key.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The caller is not an approver, or started the deployment while the server requires another approver.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The deployment is not ready to be switched, or already switched: `message` says which.", body = Problem, content_type = "application/problem+json"),
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
    let request = ChangeRequest::new(caller, (id, "switch"), (key, body), answer)?;
    let outcome = switch(&state.db, request.change(), state.auth.requires_four_eyes()).await;
    Ok(Json(request.answer(&state, outcome).await?))
}
