//! `POST /api/v1/deploy/{id}/cancel`: wish for the end of a deployment.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::wish::{Answer, Request, write};
use crate::db::wishes::Wish;
use crate::http::ApiState;
use crate::http::auth::{Allowed, Deployer};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::extract::{DeploymentId, UnreadBody};
use crate::http::idempotency::KeyHeader;
use crate::http::problem::Problem;

// ---- What it answers

/// The cancellation is under way.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Cancelling {
    /// The deployment.
    #[schema(example = "dep_4k1zq0v7w3m9x2c8b5n6")]
    pub deployment_id: String,
    /// Where to listen.
    #[schema(example = "Cancellation started. Listen to /api/v1/deploy/dep_4k1zq0v7w3m9x2c8b5n6/events")]
    pub message: String,
    /// Always `IN_PROGRESS`; the event stream and the result tell the end.
    #[schema(example = "IN_PROGRESS")]
    pub cancel_status: &'static str,
}

// ---- The handler

/// Cancel a deployment
///
/// The build is stopped, then the execution and `CodeDeploy` (with a rollback); the deployment ends FAILED with `CANCELLED`. One
/// whose traffic has moved to green by then ends COMPLETED. Repeating it while that is under way gives the same answer.
#[utoipa::path(
    post, path = "/api/v1/deploy/{id}/cancel", tag = "deployments", operation_id = "cancelDeployment",
    params(("id" = String, Path, description = "The deployment.", example = "dep_4k1zq0v7w3m9x2c8b5n6"),
           ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters, new for each new request; the first answer is kept for 24 hours.",
            example = "3f2b6c1e-5d0f-4a53-9d53-6f8f2a1c7e10", max_length = 255)),
    responses(
        (status = 200, description = "The cancellation is under way.", body = Envelope<Cancelling>),
        (status = 400, description = "The Idempotency-Key is not valid.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The caller may not cancel; once it is being switched, that needs an approver.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "COMPLETED or FAILED already.", body = Problem, content_type = "application/problem+json"),
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
        "배포 취소가 시작되었습니다.",
        Cancelling {
            message: format!("Cancellation started. Listen to /api/v1/deploy/{id}/events"),
            deployment_id: id.clone(),
            cancel_status: "IN_PROGRESS",
        },
    ));
    match write(&state, &caller, Request { wish: Wish::Cancel, name: "cancel", id: id.clone(), key, body }, answer)
        .await?
    {
        Answer::Now(answer) => Ok(Json(answer)),
        Answer::NotNow(status) => Err(ApiError::AlreadyFinished { id, status: status.as_str() }),
    }
}
