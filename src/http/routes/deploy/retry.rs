//! `POST /api/v1/deploy/{id}/retry`: requests another attempt of a failed deployment.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::command::ChangeRequest;
use super::freeze::FreezeOverride;
use crate::commands::retry::retry;
use crate::domain::deployment::Status;
use crate::http::ApiState;
use crate::http::auth::{Deployer, RequireRole};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;
use crate::http::extract::UnreadBody;
use crate::http::idempotency::IdempotencyKeyHeader;
use crate::http::json::Json;
use crate::http::routes::deploy::path::DeploymentId;

// ---- Request

/// Override of freezes. Other members have no meaning.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub struct RetryRequest {
    /// Overrides the freezes that would hold the attempt, for an approver.
    #[serde(rename = "override")]
    pub freeze_override: Option<FreezeOverride>,
}

// ---- Response

/// Confirms that another attempt was requested.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Retrying {
    /// Id from the request's path.
    #[schema(example = "dep_4k1zq0v7w3m9x2c8b5n6")]
    pub deployment_id: String,
    /// Text with the path of the event stream.
    #[schema(example = "Retry started. Listen to /api/v1/deploy/dep_4k1zq0v7w3m9x2c8b5n6/events")]
    pub message: String,
    /// Status of the deployment, always `RUNNING`.
    #[schema(value_type = String, example = "RUNNING")]
    pub status: Status,
}

// ---- Handler

/// Retry a failed deployment
///
/// Starts a new attempt of the same deployment, which resumes where the last one failed: it reuses a pushed image, follows an execution
/// that still runs, and switches a `CodeDeploy` deployment that still waits. A build starts again from the branch's newest
/// commit. The previous attempt stays readable in the events and in `attempts` of the result.
#[utoipa::path(
    post, path = "/api/v1/deploy/{id}/retry", tag = "deployments", operation_id = "retryDeployment",
    params(("id" = String, Path, description = "Id of the deployment.", example = "dep_4k1zq0v7w3m9x2c8b5n6"), IdempotencyKeyHeader),
    request_body(content = Option<RetryRequest>, description = "Optional: an override of freezes.", content_type = "application/json"),
    responses(
        (status = 200, description = "The new attempt was requested. While a freeze of starts is in force it waits in the queue.", body = Envelope<Retrying>),
        (status = 400, description = "Invalid Idempotency-Key, or an override without a reason.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The caller may not retry; a deployment that was to be switched, or an override of a freeze, needs an approver.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The deployment is not FAILED, another deployment has the target, a connection was removed, or a freeze holds the switch that the attempt may continue: `errorCode` says which.", body = Problem, content_type = "application/problem+json"),
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
        "배포 재시도가 시작되었습니다.",
        Retrying {
            message: format!("Retry started. Listen to /api/v1/deploy/{id}/events"),
            deployment_id: id.clone(),
            status: Status::Running,
        },
    ));
    let freeze_override = FreezeOverride::of(&body.0)?;
    let request = ChangeRequest::new(caller, (id, "retry"), (key, body), answer)?;
    let outcome = retry(&state.db, request.change(), state.retry_step, freeze_override.as_deref()).await;
    Ok(Json(request.answer(&state, outcome).await?))
}
