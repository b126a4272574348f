//! `GET /api/v1/connect/github/{id}/secrets`: the build secrets of a connection, by name. Values are never shown.

pub mod remove;
pub mod set;

use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::db::build_secrets::BuildSecretView;
use crate::http::ApiState;
use crate::http::auth::{Allowed, Deployer};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::extract::ConnectionId;
use crate::http::problem::Problem;

// ---- What it answers

/// The build secrets of a connection.
#[derive(Debug, Serialize, ToSchema)]
pub struct BuildSecrets {
    /// By name.
    pub secrets: Vec<BuildSecret>,
}

/// A build secret, without its value.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BuildSecret {
    /// What builds call it: `RUN --mount=type=secret,id=NAME`.
    #[schema(example = "npm_token")]
    pub name: String,
    /// When it was first set (UTC).
    pub created_at: DateTime<Utc>,
    /// When it was last set (UTC).
    pub updated_at: DateTime<Utc>,
}

impl From<BuildSecretView> for BuildSecret {
    fn from(row: BuildSecretView) -> Self {
        Self { name: row.name, created_at: row.created_at, updated_at: row.updated_at }
    }
}

// ---- The handler

/// List the build secrets of a connection
///
/// Names and times; values are never shown.
#[utoipa::path(
    get, path = "/api/v1/connect/github/{id}/secrets", tag = "connections", operation_id = "listBuildSecrets",
    params(("id" = String, Path, description = "The connection.", example = "gh_4k1zq0v7w3m9x2c8b5n6")),
    responses(
        (status = 200, description = "Those that there are.", body = Envelope<BuildSecrets>),
        (status = 403, description = "The caller may not connect.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such connection to GitHub.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<Deployer>,
    ConnectionId(id): ConnectionId,
) -> Result<Envelope<BuildSecrets>, ApiError> {
    if !state.db.is_github_connection_of(&id, &caller).await? {
        return Err(ApiError::ConnectionNotFound(id));
    }
    let secrets = state.db.build_secrets(&id).await?.into_iter().map(BuildSecret::from).collect();
    Ok(Envelope::new("빌드 시크릿 목록 조회 성공", BuildSecrets { secrets }))
}
