//! `DELETE /api/v1/connect/github/{id}/secrets/{name}`: erases a build secret.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::commands::build_secrets::remove_build_secret;
use crate::http::ApiState;
use crate::http::auth::{Deployer, RequireRole};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;
use crate::http::routes::connect::path::BuildSecretPath;

// ---- Response

/// Confirms the removal of a build secret.
#[derive(Debug, Serialize, ToSchema)]
pub struct BuildSecretRemoved {
    /// Name of the removed secret.
    #[schema(example = "npm_token")]
    pub name: String,
}

// ---- Handler

/// Remove a build secret
///
/// Erases the value. Later builds that name the secret fail.
#[utoipa::path(
    delete, path = "/api/v1/connect/github/{id}/secrets/{name}", tag = "connections", operation_id = "removeBuildSecret",
    params(("id" = String, Path, description = "Id of the connection.", example = "gh_4k1zq0v7w3m9x2c8b5n6"),
           ("name" = String, Path, description = "Name of the secret.", example = "npm_token")),
    responses(
        (status = 200, description = "The secret is removed.", body = Envelope<BuildSecretRemoved>),
        (status = 400, description = "Invalid name.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The caller may not connect.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such GitHub connection, or it has no such secret.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { caller, .. }: RequireRole<Deployer>,
    BuildSecretPath { connection, name }: BuildSecretPath,
) -> Result<Envelope<BuildSecretRemoved>, ApiError> {
    remove_build_secret(&state.db, &connection, &name, &caller).await?;
    tracing::info!(%connection, name, "build secret removed");
    Ok(Envelope::new("빌드 시크릿이 삭제되었습니다.", BuildSecretRemoved { name }))
}
