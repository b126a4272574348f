//! `GET /api/v1/connect/github/{id}/secrets`: lists the build secrets of a connection by name. Values are never returned.

pub mod remove;
pub mod set;

use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::commands::connect::error::ConnectError;
use crate::db::build_secrets::BuildSecretView;
use crate::http::ApiState;
use crate::http::auth::{Deployer, RequireRole};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;
use crate::http::routes::connect::path::ConnectionId;
use crate::http::time;

// ---- Response

/// The build secrets of a connection.
#[derive(Debug, Serialize, ToSchema)]
pub struct BuildSecrets {
    /// Build secrets, sorted by name.
    pub secrets: Vec<BuildSecret>,
}

/// A build secret, without its value.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BuildSecret {
    /// Name in builds: `RUN --mount=type=secret,id=NAME`.
    #[schema(example = "npm_token")]
    pub name: String,
    /// Time of the first value (UTC).
    #[serde(serialize_with = "time::millis")]
    pub created_at: DateTime<Utc>,
    /// Time of the present value (UTC).
    #[serde(serialize_with = "time::millis")]
    pub updated_at: DateTime<Utc>,
}

impl From<BuildSecretView> for BuildSecret {
    fn from(row: BuildSecretView) -> Self {
        Self { name: row.name, created_at: row.created_at, updated_at: row.updated_at }
    }
}

// ---- Handler

/// List the build secrets of a connection
///
/// Returns names and times, never values.
#[utoipa::path(
    get, path = "/api/v1/connect/github/{id}/secrets", tag = "connections", operation_id = "listBuildSecrets",
    params(("id" = String, Path, description = "Id of the connection.", example = "gh_4k1zq0v7w3m9x2c8b5n6")),
    responses(
        (status = 200, description = "All build secrets of the connection.", body = Envelope<BuildSecrets>),
        (status = 403, description = "The caller may not connect.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such GitHub connection.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { caller, .. }: RequireRole<Deployer>,
    ConnectionId(id): ConnectionId,
) -> Result<Envelope<BuildSecrets>, ApiError> {
    if !state.db.is_github_connection_of(&id, caller.scope()).await? {
        return Err(ConnectError::NotFound(id).into());
    }
    let secrets = state.db.build_secrets(&id).await?.into_iter().map(BuildSecret::from).collect();
    Ok(Envelope::new("빌드 시크릿 목록 조회 성공", BuildSecrets { secrets }))
}
