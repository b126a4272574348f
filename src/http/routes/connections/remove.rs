//! `DELETE /api/v1/connections/{id}`: removes a connection and its secrets.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::commands::connect::remove::remove;
use crate::http::ApiState;
use crate::http::auth::{Deployer, RequireRole};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;
use crate::http::routes::connect::path::ConnectionId;

// ---- Response

/// Confirms the removal of a connection.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionRemoved {
    /// Id of the removed connection.
    #[schema(example = "gh_4k1zq0v7w3m9x2c8b5n6")]
    pub connection_id: String,
}

// ---- Handler

/// Remove a connection
///
/// Erases the secrets of the connection; those of an AWS account once Panda's event rules there are removed, within an hour at most. It is no longer
/// listed, and cannot be used to deploy or retry. Its past deployments stay in the history; schedules that use it fail visibly until they are changed. A
/// caller with a limited scope may remove connections within that scope only.
#[utoipa::path(
    delete, path = "/api/v1/connections/{id}", tag = "connections", operation_id = "removeConnection",
    params(("id" = String, Path, description = "Id of the connection.", example = "gh_4k1zq0v7w3m9x2c8b5n6")),
    responses(
        (status = 200, description = "The connection is removed.", body = Envelope<ConnectionRemoved>),
        (status = 403, description = "The caller may not remove connections.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such connection that the caller may remove.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "An unfinished deployment uses the connection; `deploymentId` names it.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { caller, .. }: RequireRole<Deployer>,
    ConnectionId(id): ConnectionId,
) -> Result<Envelope<ConnectionRemoved>, ApiError> {
    remove(&state.db, &id, &caller).await?;
    tracing::info!(connection = %id, "connection removed");
    Ok(Envelope::new("연결이 삭제되었습니다.", ConnectionRemoved { connection_id: id }))
}
