//! `POST /api/v1/github-apps`: begins an App, and returns the manifest that a browser posts to GitHub.

use axum::extract::State;
use chrono::{DateTime, Utc};
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::commands::github_apps::{AppRequest, begin};
use crate::commands::push_hooks::error::PushHookError;
use crate::domain::text;
use crate::http::auth::{Deployer, RequireRole};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;
use crate::http::extract::{JsonBody, MAX_NAME, is_id};
use crate::http::{ApiState, time};

// ---- Request

/// An App that GitHub is to create.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct BeginGithubApp {
    /// Proposed name, which can be changed at GitHub: no other App may have it.
    #[schema(nullable, example = "Panda of Acme", min_length = 1, max_length = 34)]
    pub name: Option<String>,
    /// Organisation that owns the App; the account of the person who is signed in at GitHub when absent.
    #[schema(nullable, example = "acme", min_length = 1, max_length = 39)]
    pub organization: Option<String>,
    /// Push hook that receives the pushes of all repositories in which the App is installed. Requires the role admin of the repositories of the hook, whose earlier
    /// secrets end 24 hours after the creation. Without one the App sends no events.
    #[schema(nullable, example = "hok_4k1zq0v7w3m9x2c8b5n6")]
    pub push_hook_id: Option<String>,
}

// ---- Response

/// Address and manifest that a browser posts to GitHub.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GithubAppBegun {
    /// Id of the App in Panda.
    #[schema(example = "gha_4k1zq0v7w3m9x2c8b5n6")]
    pub github_app_id: String,
    /// Page of GitHub to which a form with the field `manifest` is posted. Its `state` proves to Panda that this caller began the App.
    #[schema(
        example = "https://github.com/organizations/acme/settings/apps/new?state=0000000000000000000000000000000000000000000000000000000000000000"
    )]
    pub address: String,
    /// Name, addresses, permissions and events of the App, as GitHub reads them.
    #[schema(value_type = Object)]
    pub manifest: Value,
    /// Time until which the state is accepted (UTC).
    #[serde(serialize_with = "time::millis")]
    pub expires_at: DateTime<Utc>,
}

// ---- Handler

/// Begin a GitHub App
///
/// For a browser: it posts the manifest to `address`, where a person creates the App. GitHub leads back to Panda's page, which exchanges GitHub's code for the
/// private key. Only this caller can finish it, within an hour. Requires the role deployer.
#[utoipa::path(
    post, path = "/api/v1/github-apps", tag = "connections", operation_id = "beginGithubApp",
    request_body = BeginGithubApp,
    responses(
        (status = 200, description = "Begun.", body = Envelope<GithubAppBegun>),
        (status = 400, description = "Malformed JSON, or an invalid field, named by `field`.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The caller is no deployer.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such push hook.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`PANDA_PUBLIC_URL` is not set, or there are 200 Apps.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { caller, .. }: RequireRole<Deployer>,
    JsonBody(body): JsonBody<BeginGithubApp>,
) -> Result<Envelope<GithubAppBegun>, ApiError> {
    if let Some(hook) = body.push_hook_id.as_ref().filter(|id| !is_id(id)) {
        return Err(PushHookError::NotFound(text::cut(hook, MAX_NAME)).into());
    }
    let request = AppRequest { name: body.name, organization: body.organization, push_hook: body.push_hook_id };
    let begun = begin(&state.db, &state.manifests, &request, &caller).await?;
    tracing::info!(app = %begun.id, organization = request.organization, "GitHub App begun");
    let data = GithubAppBegun {
        github_app_id: begun.id,
        address: begun.address.expose_secret().to_owned(),
        manifest: begun.manifest,
        expires_at: begun.expires_at,
    };
    Ok(Envelope::new("GitHub App 생성을 시작했습니다.", data))
}
