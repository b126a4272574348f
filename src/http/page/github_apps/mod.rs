//! `GET /connections/github-apps`: Apps that GitHub created from Panda's manifest, with a form that begins one. The form's script posts the manifest to
//! GitHub, which leads back to [`callback`], and after the installation to [`show`].

pub mod callback;
pub mod show;

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::context::{Page, Visitor, render, render_posting_to};
use crate::commands::github_apps::list;
use crate::http::ApiState;
use crate::http::error::ApiError;
use crate::http::routes::github_apps::ShownGithubApp;

#[derive(Template)]
#[template(path = "github_apps.html")]
struct GithubAppsView {
    page: Page,
    apps: Vec<ShownGithubApp>,
    /// Value of `organization` to begin with.
    organization: String,
    /// False while the address to which GitHub returns is not configured.
    has_address: bool,
}

/// Shows the Apps of the caller's scope.
pub async fn handle(State(state): State<ApiState>, Visitor { page, caller }: Visitor) -> Result<Response, ApiError> {
    let may = page.may("deployer");
    let apps = if may { list(&state.db, &caller).await? } else { Vec::new() };
    let has_address = state.manifests.public.is_some();
    let organization = callback::query_field(&page, "organization").unwrap_or_default();
    let apps = apps.into_iter().map(ShownGithubApp::from).collect();
    let view = GithubAppsView { page: page.clone(), apps, organization, has_address };
    if may && has_address { render_posting_to(&page, &view, &state.manifests.github) } else { render(&page, &view) }
}
