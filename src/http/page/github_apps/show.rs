//! `GET /connections/github-apps/{id}?installation_id=ID`: connects a repository with an App. GitHub returns the browser here after the installation.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;

use super::callback::query_field;
use crate::commands::github_apps::error::GithubAppError;
use crate::domain::text;
use crate::http::ApiState;
use crate::http::error::ApiError;
use crate::http::extract::{MAX_NAME, is_id};
use crate::http::page::context::{Page, Visitor, render};
use crate::http::routes::github_apps::ShownGithubApp;

#[derive(Template)]
#[template(path = "github_app.html")]
struct GithubAppView {
    page: Page,
    app: ShownGithubApp,
    /// Installation that GitHub named. GitHub confirms it when a repository is connected: anyone can make up an address.
    installation: Option<u64>,
}

/// Shows an App of the caller's scope with a form that connects a repository.
pub async fn handle(
    State(state): State<ApiState>,
    Visitor { page, caller }: Visitor,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let not_found = || GithubAppError::NotFound(text::cut(&id, MAX_NAME));
    let found = if is_id(&id) { state.db.github_app(&id, &caller).await? } else { None };
    let app = found.filter(|app| app.status != "begun").map(ShownGithubApp::from).ok_or_else(not_found)?;
    let installation = query_field(&page, "installation_id").and_then(|id| id.parse().ok());
    render(&page.clone(), &GithubAppView { page, app, installation })
}
