//! `POST /api/v1/connect/github`: stores a repository, a branch and the token or App that reads them, after GitHub confirmed all three.

pub mod app;
mod error;
pub mod renew;
pub mod secrets;

use axum::extract::State;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use self::app::GithubAppBody;
use crate::commands::connect::StoredConnection;
use crate::commands::connect::github::connect;
use crate::commands::idempotency::Idempotent;
use crate::domain::connection::GithubConnection;
use crate::domain::message::message;
use crate::domain::principal::Caller;
use crate::domain::{ids, validate};
use crate::http::auth::{Deployer, RequireRole};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;
use crate::http::extract::JsonBody;
use crate::http::idempotency::IdempotencyKeyHeader;
use crate::http::json::Json;
use crate::http::{ApiState, strict_object};

/// Longest token, in bytes. Current tokens have 40 to 93.
const MAX_TOKEN: usize = 1_024;

// ---- Request

/// A repository with the token that reads it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConnectGithub {
    /// Account or organisation on GitHub.
    #[schema(example = "acme", min_length = 1, max_length = 39)]
    pub owner: String,
    /// Repository name on GitHub, without the owner.
    #[schema(example = "shop", min_length = 1, max_length = 100)]
    pub repo: String,
    /// Branch, which must exist.
    #[schema(example = "main", min_length = 1, max_length = 244)]
    pub branch: String,
    /// Access token that may read the repository's contents. Never returned. Required, unless `app` is given.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = Password, write_only, example = "github_pat_…", max_length = 1024)]
    pub token: Option<SecretString>,
    /// Installation of a GitHub App that may read the repository's contents, in place of `token`.
    #[serde(default, deserialize_with = "strict_object::optional")]
    pub app: Option<GithubAppBody>,
}

impl ConnectGithub {
    fn validate(&self) -> Result<(), ApiError> {
        validate::owner(&self.owner).map_err(|rule| ApiError::field("owner", rule))?;
        validate::repo(&self.repo).map_err(|rule| ApiError::field("repo", rule))?;
        validate::branch(&self.branch).map_err(|rule| ApiError::field("branch", rule))
    }

    /// All fields, for the hash that distinguishes requests with the same idempotency key.
    fn meaning(&self) -> Value {
        use secrecy::ExposeSecret as _;
        let token = self.token.as_ref().map(SecretString::expose_secret);
        match &self.app {
            None => json!([self.owner, self.repo, self.branch, token]),
            Some(app) => json!([self.owner, self.repo, self.branch, token, app.meaning()]),
        }
    }
}

/// The credential of a request: a token, or an App.
async fn credential(
    token: Option<SecretString>,
    app: Option<GithubAppBody>,
    state: &ApiState,
    caller: &Caller,
) -> Result<SecretString, ApiError> {
    use secrecy::ExposeSecret as _;
    match (token, app) {
        (Some(token), None) => {
            let checked = validate::secret(token.expose_secret(), MAX_TOKEN);
            checked.map(|()| token).map_err(|rule| ApiError::field("token", rule))
        }
        (None, Some(app)) => app.checked(state, caller).await,
        (Some(_), Some(_)) => Err(ApiError::field("app", message!("rule.source_twice", field = "token"))),
        (None, None) => Err(ApiError::field("token", message!("rule.missing"))),
    }
}

// ---- Response

/// Message for a created or renewed connection.
const CONNECTED: &str = "GitHub 연결에 성공했습니다.";

/// Id of the new or renewed connection.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GithubConnected {
    /// Id of the connection, for deployments.
    #[schema(example = "gh_4k1zq0v7w3m9x2c8b5n6")]
    pub github_connection_id: String,
}

// ---- Handler

/// Connect a GitHub repository
///
/// Looks up the repository and the branch with the token before anything is stored. Connecting the same repository and branch again renews that
/// connection.
#[utoipa::path(
    post, path = "/api/v1/connect/github", tag = "connections", operation_id = "connectGithub",
    request_body = ConnectGithub,
    params(IdempotencyKeyHeader),
    responses(
        (status = 200, description = "The connection is created or renewed.", body = Envelope<GithubConnected>),
        (status = 400, description = "Malformed JSON, an invalid field, or one that GitHub does not confirm, named by `field`.",
         body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The caller may not connect, or the repository is outside the caller's scope.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such App in the caller's scope.", body = Problem, content_type = "application/problem+json"),
        (status = 502, description = "GitHub is unavailable.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The database is unavailable, or GitHub's rate limit is reached; see Retry-After.",
         body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { caller, .. }: RequireRole<Deployer>,
    key: IdempotencyKeyHeader,
    JsonBody(body): JsonBody<ConnectGithub>,
) -> Result<Json<Value>, ApiError> {
    let key = key.key_for(&caller, "POST /api/v1/connect/github", &body.meaning())?;
    body.validate()?;
    let credential = credential(body.token, body.app, &state, &caller).await?;
    let connection = GithubConnection {
        id: ids::github_connection_id(),
        owner: body.owner,
        repo: body.repo,
        branch: body.branch,
        token: credential,
        build_secrets: std::collections::BTreeMap::new(),
    };
    let answer = |stored: &StoredConnection| {
        json!(Envelope::new(CONNECTED, GithubConnected { github_connection_id: stored.id.clone() }))
    };
    match connect(&state.db, &state.github, &connection, key.as_ref(), &caller, answer).await? {
        Idempotent::Fresh(stored) => {
            let (owner, repo, renewed) = (&connection.owner, &connection.repo, stored.renewed);
            tracing::info!(connection = %stored.id, %owner, %repo, renewed, "GitHub connected");
            Ok(Json(answer(&stored)))
        }
        Idempotent::Replayed(answer) => Ok(Json(answer)),
    }
}
