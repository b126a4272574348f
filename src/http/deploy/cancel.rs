//! `POST /api/v1/deploy/{id}/cancel`: wish for the end of a deployment.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::db::deployments::CancelRequest;
use crate::http::ApiState;
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::extract::DeploymentId;
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
    params(("id" = String, Path, description = "The deployment.", example = "dep_4k1zq0v7w3m9x2c8b5n6")),
    responses(
        (status = 200, description = "The cancellation is under way.", body = Envelope<Cancelling>),
        (status = 404, description = "There is no such deployment.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "COMPLETED or FAILED already.", body = Problem, content_type = "application/problem+json"),
        (status = 500, description = "Internal error.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The database is away; see Retry-After.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    DeploymentId(id): DeploymentId,
) -> Result<Envelope<Cancelling>, ApiError> {
    match state.db.request_cancel(&id).await? {
        CancelRequest::Accepted => {}
        CancelRequest::Unknown => return Err(ApiError::DeploymentNotFound(id)),
        CancelRequest::Finished(status) => return Err(ApiError::AlreadyFinished { id, status: status.as_str() }),
    }
    tracing::info!(deployment = %id, "cancel wished for");
    // Streams learn that more will come, and stay open; both are hints, and the sweeps find what they missed.
    state.hub.nudge(&id);
    for told in [state.db.notify_work(&id).await, state.db.notify_events(std::slice::from_ref(&id)).await] {
        if let Err(error) = told {
            tracing::warn!(deployment = %id, %error, "the other processes could not be told");
        }
    }
    Ok(Envelope::new(
        "배포 취소가 시작되었습니다.",
        Cancelling {
            message: format!("Cancellation started. Listen to /api/v1/deploy/{id}/events"),
            deployment_id: id,
            cancel_status: "IN_PROGRESS",
        },
    ))
}
