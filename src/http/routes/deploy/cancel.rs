//! `POST /api/v1/deploy/{id}/cancel`: requests the cancellation of a deployment.

use axum::extract::State;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::command::ChangeRequest;
use crate::commands::cancel::cancel;
use crate::http::ApiState;
use crate::http::auth::{Deployer, RequireRole};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;
use crate::http::extract::UnreadBody;
use crate::http::idempotency::IdempotencyKeyHeader;
use crate::http::json::Json;
use crate::http::routes::deploy::path::DeploymentId;

// ---- Response

/// Confirms that the cancellation was requested.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Cancelling {
    /// Id from the request's path.
    #[schema(example = "dep_4k1zq0v7w3m9x2c8b5n6")]
    pub deployment_id: String,
    /// Text with the path of the event stream.
    #[schema(example = "Cancellation started. Listen to /api/v1/deploy/dep_4k1zq0v7w3m9x2c8b5n6/events")]
    pub message: String,
    /// Always `IN_PROGRESS`; the event stream and the result report the end.
    #[schema(example = "IN_PROGRESS")]
    pub cancel_status: &'static str,
}

// ---- Handler

/// Cancel a deployment
///
/// Stops the build, then the execution and `CodeDeploy` (with a rollback); the deployment ends FAILED with `CANCELLED`. A deployment
/// whose traffic has already moved to green ends COMPLETED. Repeating the request meanwhile returns the same response.
#[utoipa::path(
    post, path = "/api/v1/deploy/{id}/cancel", tag = "deployments", operation_id = "cancelDeployment",
    params(("id" = String, Path, description = "Id of the deployment.", example = "dep_4k1zq0v7w3m9x2c8b5n6"), IdempotencyKeyHeader),
    responses(
        (status = 200, description = "The cancellation was requested.", body = Envelope<Cancelling>),
        (status = 400, description = "Invalid Idempotency-Key.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The caller may not cancel; a deployment that is being switched needs an approver.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The deployment is already COMPLETED or FAILED.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { caller, .. }: RequireRole<Deployer>,
    DeploymentId(id): DeploymentId,
    key: IdempotencyKeyHeader,
    body: UnreadBody,
) -> Result<Json<Value>, ApiError> {
    let answer = json!(Envelope::new(
        "배포 취소가 시작되었습니다.",
        Cancelling {
            message: format!("Cancellation started. Listen to /api/v1/deploy/{id}/events"),
            deployment_id: id.clone(),
            cancel_status: "IN_PROGRESS",
        },
    ));
    let request = ChangeRequest::new(caller, (id, "cancel"), (key, body), answer)?;
    let outcome = cancel(&state.db, request.change()).await;
    Ok(Json(request.answer(&state, outcome).await?))
}
