//! `POST /api/v1/deploy/{id}/retry`: wish for another attempt of a failed deployment.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::wish::{Answer, Request, write};
use crate::db::wishes::Wish;
use crate::domain::deployment::Status;
use crate::http::ApiState;
use crate::http::auth::{Allowed, Deployer};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::extract::{DeploymentId, UnreadBody};
use crate::http::idempotency::KeyHeader;
use crate::http::problem::Problem;

// ---- What it answers

/// Another attempt is under way.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Retrying {
    /// The deployment.
    #[schema(example = "dep_4k1zq0v7w3m9x2c8b5n6")]
    pub deployment_id: String,
    /// Where to listen.
    #[schema(example = "Retry started. Listen to /api/v1/deploy/dep_4k1zq0v7w3m9x2c8b5n6/events")]
    pub message: String,
    /// Always `RUNNING`.
    #[schema(value_type = String, example = "RUNNING")]
    pub status: Status,
}

// ---- The handler

/// Retry a failed deployment
///
/// A new attempt of the same deployment, which goes on where the last one failed: an image that was pushed is used again, an execution
/// that still runs is followed on, a `CodeDeploy` deployment that still waits is switched. A build begins anew from the branch's newest
/// commit. The attempt before stays readable: its events, and `attempts` in the result.
#[utoipa::path(
    post, path = "/api/v1/deploy/{id}/retry", tag = "deployments", operation_id = "retryDeployment",
    params(("id" = String, Path, description = "The deployment.", example = "dep_4k1zq0v7w3m9x2c8b5n6"),
           ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters, new for each new request; the first answer is kept for 24 hours.",
            example = "3f2b6c1e-5d0f-4a53-9d53-6f8f2a1c7e10", max_length = 255)),
    responses(
        (status = 200, description = "The new attempt is under way.", body = Envelope<Retrying>),
        (status = 400, description = "The Idempotency-Key is not valid.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The caller may not retry; what was to be switched needs an approver.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "Not FAILED, another deployment has the target, or a connection was removed: `errorCode` tells which.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<Deployer>,
    DeploymentId(id): DeploymentId,
    key: KeyHeader,
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
    let wish = Wish::Retry { step: state.retry_step };
    match write(&state, &caller, Request { wish, name: "retry", id: id.clone(), key, body }, answer).await? {
        Answer::Now(answer) => Ok(Json(answer)),
        Answer::NotNow(status) => Err(ApiError::NotFailed { id, status: status.as_str() }),
    }
}
