//! `GET /sign-in/done`: the end of a sign-in beside a view whose session had ended. It reports to that view and closes itself.

use askama::Template;
use axum::extract::Request;
use axum::extract::State;
use axum::response::Response;

use crate::http::ApiState;
use crate::http::error::ApiError;
use crate::http::page::context::{Page, render};

#[derive(Template)]
#[template(path = "sign_in_done.html")]
struct DoneView<'a> {
    page: &'a Page,
}

/// Shows that the other tab can be used again.
pub async fn handle(State(state): State<ApiState>, request: Request) -> Result<Response, ApiError> {
    let (parts, _) = request.into_parts();
    let page = Page::of(&parts, &state);
    render(&page, &DoneView { page: &page })
}
