//! `DELETE /api/v1/github-apps/{id}`: deletes an App with its private key.

use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;

use super::ShownGithubApp;
use crate::commands::github_apps::delete;
use crate::commands::github_apps::error::GithubAppError;
use crate::http::ApiState;
use crate::http::auth::{Deployer, RequireRole};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;
use crate::http::extract::path_id;

/// An App's id in the path. An invalid id is answered with 404 without a query.
#[derive(Debug)]
pub struct GithubAppPath(pub String);

impl<S: Send + Sync> FromRequestParts<S> for GithubAppPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        path_id(parts, state).await.map(Self).map_err(|id| GithubAppError::NotFound(id).into())
    }
}

// ---- Handler

/// Delete a GitHub App
///
/// Removes its private key from Panda. Connections keep the key that they have, and the App stays at GitHub, where it can be deleted. Requires the role
/// deployer.
#[utoipa::path(
    delete, path = "/api/v1/github-apps/{id}", tag = "connections", operation_id = "deleteGithubApp",
    params(("id" = String, Path, description = "Id of the App in Panda.", example = "gha_4k1zq0v7w3m9x2c8b5n6")),
    responses(
        (status = 200, description = "The App as it was.", body = Envelope<ShownGithubApp>),
        (status = 403, description = "The caller is no deployer.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such App.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { caller, .. }: RequireRole<Deployer>,
    GithubAppPath(id): GithubAppPath,
) -> Result<Envelope<ShownGithubApp>, ApiError> {
    let deleted = delete(&state.db, &id, &caller).await?;
    tracing::info!(app = id, "GitHub App deleted");
    Ok(Envelope::new("GitHub App이 삭제되었습니다.", ShownGithubApp::from(deleted)))
}
