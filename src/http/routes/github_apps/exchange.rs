//! `POST /api/v1/github-apps/exchange`: exchanges the code that GitHub returned for the App that it created.

use axum::extract::State;
use secrecy::SecretString;
use serde::Deserialize;
use utoipa::ToSchema;

use super::ShownGithubApp;
use crate::commands::github_apps::exchange::{Returned, exchange};
use crate::http::ApiState;
use crate::http::auth::{Deployer, RequireRole};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;
use crate::http::extract::JsonBody;

// ---- Request

/// State and code that GitHub returned.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExchangeGithubApp {
    /// The state that the App was begun with.
    #[schema(value_type = String, example = "0000000000000000000000000000000000000000000000000000000000000000")]
    pub state: SecretString,
    /// GitHub's code, which is valid once, for an hour.
    #[schema(value_type = String, example = "a180b1a3d263c81bc6441d7b990bae27d4c10679", min_length = 1, max_length = 255)]
    pub code: SecretString,
}

// ---- Handler

/// Finish a GitHub App
///
/// Fetches id and private key of the App from GitHub, once, and stores them. Only the caller who began it can do this. The same request again returns the same
/// App; another code for the same state is refused. Requires the role deployer.
#[utoipa::path(
    post, path = "/api/v1/github-apps/exchange", tag = "connections", operation_id = "exchangeGithubApp",
    request_body = ExchangeGithubApp,
    responses(
        (status = 200, description = "Created, now or earlier.", body = Envelope<ShownGithubApp>),
        (status = 400, description = "The caller has begun nothing with this state, or GitHub refuses the code.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The caller is no deployer.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "Another request exchanges the code, or its process has died.", body = Problem, content_type = "application/problem+json"),
        (status = 502, description = "GitHub is unavailable.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { caller, .. }: RequireRole<Deployer>,
    JsonBody(body): JsonBody<ExchangeGithubApp>,
) -> Result<Envelope<ShownGithubApp>, ApiError> {
    let returned = Returned { state: body.state, code: body.code };
    let app = exchange(&state.db, &state.github, &state.manifests, &returned, &caller).await?;
    tracing::info!(app = %app.id, app_id = app.app_id, "GitHub App created");
    Ok(Envelope::new("GitHub App이 생성되었습니다.", ShownGithubApp::from(app)))
}
