//! Errors of views, as a page: the same texts as the API's problems, with the way back.

use askama::Template;
use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::http::header;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::context::{Page, render};
use crate::http::ApiState;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;
use crate::http::error::server::ServerError;

#[derive(Template)]
#[template(path = "failure.html")]
struct FailureView<'a> {
    page: &'a Page,
    problem: &'a Problem,
}

/// The response to a path that does not exist: a page for browsers, which ask for HTML, and a problem for programs.
pub async fn not_found(State(state): State<ApiState>, request: Request) -> Response {
    let response = ApiError::from(ServerError::RouteNotFound).into_response();
    let accepts = request.headers().get(header::ACCEPT).and_then(|accepts| accepts.to_str().ok()).unwrap_or_default();
    let is_view = accepts.contains("text/html") && !request.uri().path().starts_with("/api/");
    let (parts, _) = request.into_parts();
    if is_view { shown(&Page::of(&parts, &state), response) } else { response }
}

/// Middleware that shows the problem of a response as a page. A page of a passing failure, such as an unavailable database, loads itself again.
pub async fn show_problem(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let page = Page::of(&parts, &state);
    shown(&page, next.run(Request::from_parts(parts, body)).await)
}

fn shown(page: &Page, mut response: Response) -> Response {
    let Some(problem) = response.extensions_mut().remove::<Problem>() else { return response };
    let problem = problem.in_language(page.lang);
    let (status, wait) = (response.status(), problem.wait_seconds());
    let Ok(mut shown) = render(page, &FailureView { page, problem: &problem }) else { return response };
    *shown.status_mut() = status;
    if let Some(seconds) = wait {
        shown.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        shown.headers_mut().insert(header::REFRESH, HeaderValue::from(seconds.max(5)));
    }
    shown
}
