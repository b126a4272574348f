//! `DELETE /api/v1/connect/github/{id}/secrets/{name}`: erases a build secret.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::db::build_secrets::Unset;
use crate::http::ApiState;
use crate::http::auth::{Allowed, Deployer};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::extract::BuildSecretPath;
use crate::http::problem::Problem;

// ---- What it answers

/// No build secret any more.
#[derive(Debug, Serialize, ToSchema)]
pub struct BuildSecretRemoved {
    /// What builds called it.
    #[schema(example = "npm_token")]
    pub name: String,
}

// ---- The handler

/// Remove a build secret
///
/// Its value is erased. Builds that name it fail from now on.
#[utoipa::path(
    delete, path = "/api/v1/connect/github/{id}/secrets/{name}", tag = "connections", operation_id = "removeBuildSecret",
    params(("id" = String, Path, description = "The connection.", example = "gh_4k1zq0v7w3m9x2c8b5n6"),
           ("name" = String, Path, description = "The secret's name.", example = "npm_token")),
    responses(
        (status = 200, description = "Removed.", body = Envelope<BuildSecretRemoved>),
        (status = 400, description = "The name is not valid.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The caller may not connect.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such connection to GitHub, or it has no such secret.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<Deployer>,
    BuildSecretPath { connection, name }: BuildSecretPath,
) -> Result<Envelope<BuildSecretRemoved>, ApiError> {
    match state.db.remove_build_secret(&connection, &name, &caller).await? {
        Unset::Now => {
            tracing::info!(%connection, name, "build secret removed");
            Ok(Envelope::new("빌드 시크릿이 삭제되었습니다.", BuildSecretRemoved { name }))
        }
        Unset::NoSecret => Err(ApiError::BuildSecretNotFound { connection, name }),
        Unset::NoConnection => Err(ApiError::ConnectionNotFound(connection)),
    }
}
