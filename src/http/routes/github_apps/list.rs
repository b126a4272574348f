//! `GET /api/v1/github-apps`: lists Apps that GitHub created from Panda's manifest, the oldest first.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::ShownGithubApp;
use crate::commands::github_apps::list;
use crate::http::ApiState;
use crate::http::auth::{Deployer, RequireRole};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;

// ---- Response

/// Apps of the caller's scope.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GithubAppList {
    /// Apps, the oldest first; at most 200.
    pub apps: Vec<ShownGithubApp>,
    /// Page of Panda at which a browser creates one; null where `PANDA_PUBLIC_URL` is not set.
    #[schema(example = "https://panda.example.com/connections/github-apps")]
    pub page_address: Option<String>,
}

// ---- Handler

/// List GitHub Apps
///
/// Those that callers with the same repositories created from Panda's manifest. Requires the role deployer.
#[utoipa::path(
    get, path = "/api/v1/github-apps", tag = "connections", operation_id = "listGithubApps",
    responses(
        (status = 200, description = "The Apps, the oldest first.", body = Envelope<GithubAppList>),
        (status = 403, description = "The caller is no deployer.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { caller, .. }: RequireRole<Deployer>,
) -> Result<Envelope<GithubAppList>, ApiError> {
    let apps = list(&state.db, &caller).await?.into_iter().map(ShownGithubApp::from).collect();
    let page_address = state.manifests.page().map(String::from);
    Ok(Envelope::new("GitHub App 목록 조회 성공", GithubAppList { apps, page_address }))
}
