//! `DELETE /api/v1/connections/{id}`: takes a connection away, with its secrets.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::db::removal::Removed;
use crate::http::ApiState;
use crate::http::auth::{Allowed, Deployer};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::extract::ConnectionId;
use crate::http::problem::Problem;

// ---- What it answers

/// No connection any more.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionRemoved {
    /// What named it.
    #[schema(example = "gh_4k1zq0v7w3m9x2c8b5n6")]
    pub connection_id: String,
}

// ---- The handler

/// Remove a connection
///
/// Its secrets are erased, nothing can be deployed or retried with it, and it is not listed any more. What was deployed with it stays in the
/// history. Schedules that use it stay, too, and fail visibly until they are changed. Those who see some repositories only may remove what is for
/// these alone.
#[utoipa::path(
    delete, path = "/api/v1/connections/{id}", tag = "connections", operation_id = "removeConnection",
    params(("id" = String, Path, description = "The connection.", example = "gh_4k1zq0v7w3m9x2c8b5n6")),
    responses(
        (status = 200, description = "Removed.", body = Envelope<ConnectionRemoved>),
        (status = 403, description = "The caller may not.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such connection that the caller may remove.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "An unfinished deployment uses it (`deploymentId` names it).", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<Deployer>,
    ConnectionId(id): ConnectionId,
) -> Result<Envelope<ConnectionRemoved>, ApiError> {
    match state.db.remove_connection(&id, &caller).await? {
        Removed::Now => {
            tracing::info!(connection = %id, "a connection was removed");
            Ok(Envelope::new("연결이 삭제되었습니다.", ConnectionRemoved { connection_id: id }))
        }
        Removed::InUse(deployment) => Err(ApiError::ConnectionInUse { id, deployment }),
        Removed::Unknown => Err(ApiError::ConnectionNotFound(id)),
    }
}
