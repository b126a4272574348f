//! `GET /connections/github-apps/callback?code=CODE&state=STATE`: GitHub returns the browser here once it has created an App.
//!
//! This changes nothing, and needs no sign-in: a request that another site leads to carries no SameSite=Strict cookie. A form of the view sends code and state
//! to the API, with the cookie; the API accepts them from the caller who began the App.

use askama::Template;
use axum::extract::{Request, State};
use axum::response::Response;
use url::form_urlencoded;

use crate::http::ApiState;
use crate::http::error::ApiError;
use crate::http::page::context::{Page, render};

#[derive(Template)]
#[template(path = "github_app_callback.html")]
struct CallbackView<'a> {
    page: &'a Page,
    code: String,
    state: String,
}

/// Shows the form, which is sent by itself.
pub async fn handle(State(state): State<ApiState>, request: Request) -> Result<Response, ApiError> {
    let (parts, _) = request.into_parts();
    let page = Page::of(&parts, &state);
    let returned = |name| query_field(&page, name).unwrap_or_default();
    let (code, state) = (returned("code"), returned("state"));
    render(&page, &CallbackView { page: &page, code, state })
}

/// The first field of this name in the query of a view.
pub(super) fn query_field(page: &Page, name: &str) -> Option<String> {
    let (_, query) = page.path.split_once('?')?;
    form_urlencoded::parse(query.as_bytes()).find(|(found, _)| found == name).map(|(_, value)| value.into_owned())
}
