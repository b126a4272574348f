//! `PUT /api/v1/connect/github/{id}`: replaces the token of a connection.

use axum::extract::State;
use secrecy::SecretString;
use serde::Deserialize;
use utoipa::ToSchema;

use super::app::GithubAppBody;
use super::{CONNECTED, GithubConnected, credential};
use crate::commands::connect::github::renew::{GithubRenewal, renew};
use crate::http::auth::{Deployer, RequireRole};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;
use crate::http::extract::JsonBody;
use crate::http::routes::connect::path::ConnectionId;
use crate::http::{ApiState, strict_object};

// ---- Request

/// A new token for the connection.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RenewGithub {
    /// Access token that may read the repository's contents. Never returned. Required, unless `app` is given.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = Password, write_only, example = "github_pat_…", max_length = 1024)]
    pub token: Option<SecretString>,
    /// Installation of a GitHub App that may read the repository's contents, in place of `token`.
    #[serde(default, deserialize_with = "strict_object::optional")]
    pub app: Option<GithubAppBody>,
    /// The connection's owner; it cannot be changed.
    #[schema(nullable, example = "acme", min_length = 1, max_length = 39)]
    pub owner: Option<String>,
    /// The connection's repository; it cannot be changed.
    #[schema(nullable, example = "shop", min_length = 1, max_length = 100)]
    pub repo: Option<String>,
    /// The connection's branch; it cannot be changed.
    #[schema(nullable, example = "main", min_length = 1, max_length = 244)]
    pub branch: Option<String>,
}

// ---- Handler

/// Renew a GitHub connection
///
/// Stores a new token for the connection's repository and branch after a check with GitHub. The id and the build secrets do not change;
/// running deployments and schedules use the new token. Another repository or branch needs a new connection.
#[utoipa::path(
    put, path = "/api/v1/connect/github/{id}", tag = "connections", operation_id = "renewGithub",
    params(("id" = String, Path, description = "Id of the connection.", example = "gh_4k1zq0v7w3m9x2c8b5n6")),
    request_body = RenewGithub,
    responses(
        (status = 200, description = "The connection is renewed.", body = Envelope<GithubConnected>),
        (status = 400, description = "Malformed JSON, an invalid field, or one that GitHub does not confirm, named by `field`.",
         body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The caller may not connect.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such GitHub connection, or App in the caller's scope.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The connection has another repository or branch: `field` names the difference.", body = Problem, content_type = "application/problem+json"),
        (status = 502, description = "GitHub is unavailable.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The database is unavailable, or GitHub's rate limit is reached; see Retry-After.",
         body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { caller, .. }: RequireRole<Deployer>,
    ConnectionId(id): ConnectionId,
    JsonBody(body): JsonBody<RenewGithub>,
) -> Result<Envelope<GithubConnected>, ApiError> {
    let token = credential(body.token, body.app, &state, &caller).await?;
    let renewal = GithubRenewal { token, owner: body.owner, repo: body.repo, branch: body.branch };
    let target = renew(&state.db, &state.github, &id, &renewal, &caller).await?;
    tracing::info!(connection = %id, owner = %target.owner, repo = %target.repo, "GitHub connection renewed");
    Ok(Envelope::new(CONNECTED, GithubConnected { github_connection_id: id }))
}
