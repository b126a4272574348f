//! What happens around every request.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt as _;
use tokio::time::Instant;
use tower_http::cors::{AllowOrigin, CorsLayer};
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};
use tracing::{Instrument as _, Span};

use super::door::{self, Door, headers};
use super::error::ApiError;
use super::extract::request_id;
use super::problem;
use crate::config::HttpConfig;

/// Header with the id under which the log tells of a request.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest id that is taken over from a client: it is repeated in every log line.
const MAX_REQUEST_ID: usize = 128;

/// Wraps the routes as `config` has it.
pub fn wrap(routes: Router, config: &HttpConfig) -> Router {
    // What stands last is asked first.
    let app = routes
        .layer(from_fn(catch_panics))
        .layer(from_fn_with_state(Door::new(config), door::guard))
        .layer(from_fn(problem::describe))
        .layer(from_fn(headers::add))
        .layer(from_fn(trace))
        .layer(PropagateRequestIdLayer::new(REQUEST_ID))
        .layer(SetRequestIdLayer::new(REQUEST_ID, MakeRequestUuid))
        .layer(from_fn(check_request_id));
    match cors(&config.cors_origins) {
        Some(cors) => app.layer(cors),
        None => app,
    }
}

/// Drops a client's request id that is not fit for a log, so that a new one is made.
async fn check_request_id(mut request: Request, next: Next) -> Response {
    let fit = |id: &HeaderValue| {
        id.len() <= MAX_REQUEST_ID && id.as_bytes().iter().all(|b| b.is_ascii_alphanumeric() || b"-_.:/".contains(b))
    };
    if request.headers().get(REQUEST_ID).is_some_and(|id| !fit(id)) {
        request.headers_mut().remove(REQUEST_ID);
    }
    next.run(request).await
}

/// The span of a request: its route, and neither query nor headers, which may hold what is not ours to keep.
fn span(request: &Request) -> Span {
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str);
    let request_id = request_id(request.headers());
    tracing::info_span!("request", method = %request.method(), route, request_id, caller = tracing::field::Empty)
}

/// Puts everything that is logged for a request into its span, until it has its answer. Not until the answer's last byte, as tower-http's
/// layer does: ten thousand streams would each keep a span, and enter it for each event. Errors log themselves, with what they know.
async fn trace(request: Request, next: Next) -> Response {
    let (span, begun) = (span(&request), Instant::now());
    async move {
        let response = next.run(request).await;
        let latency_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::debug!(status = response.status().as_u16(), latency_ms, "answered");
        response
    }
    .instrument(span)
    .await
}

/// A panic is a fault of ours: the client learns nothing but that. Not tower-http's layer, which would put one more box around the body
/// of each stream.
async fn catch_panics(request: Request, next: Next) -> Response {
    match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        // Its words are in the log already, with this request's id.
        Err(_) => ApiError::Internal.into_response(),
    }
}

/// Lets browsers of these origins call the API; none when there are none.
fn cors(origins: &[String]) -> Option<CorsLayer> {
    let origins: Vec<HeaderValue> = origins.iter().filter_map(|origin| origin.parse().ok()).collect();
    if origins.is_empty() {
        return None;
    }
    Some(
        CorsLayer::new()
            .allow_origin(AllowOrigin::list(origins))
            .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
            // The origins are named one by one, and a session may only read.
            .allow_credentials(true)
            .allow_headers([
                header::ACCEPT,
                header::AUTHORIZATION,
                header::CACHE_CONTROL,
                header::CONTENT_TYPE,
                HeaderName::from_static("idempotency-key"),
                HeaderName::from_static("last-event-id"),
                REQUEST_ID,
            ])
            .expose_headers([header::RETRY_AFTER, REQUEST_ID])
            .max_age(Duration::from_hours(1)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::routing::get;
    use clap::Parser;
    use tower::ServiceExt;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        http: HttpConfig,
    }

    async fn ask(flags: &[&str], path: &'static str) -> (Response, String) {
        let routes = Router::new()
            .route("/boom", get(async || -> () { panic!("s3cr3t") }))
            .route("/never", get(std::future::pending::<()>));
        let config = Cli::try_parse_from(["panda"].iter().chain(flags)).unwrap().http;
        let request = Request::get(path).header(header::HOST, "panda").body(Body::empty()).unwrap();
        let response = wrap(routes, &config).oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = axum::body::to_bytes(body, 10_000).await.unwrap();
        (Response::from_parts(head, Body::empty()), String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_panic_is_a_problem_without_details() {
        let (response, body) = ask(&[], "/boom").await;
        assert_eq!(response.status(), 500);
        assert_eq!(response.headers()[header::CONTENT_TYPE], problem::MEDIA_TYPE);
        assert!(response.headers().contains_key(REQUEST_ID));
        assert!(
            body.contains("\"instance\":\"/boom\"") && body.contains("INTERNAL") && !body.contains("s3cr3t"),
            "{body}"
        );
    }
    #[tokio::test]
    async fn a_request_that_takes_for_ever_is_given_up() {
        let (response, body) = ask(&["--request-timeout-ms=50"], "/never").await;
        assert_eq!(response.status(), 503);
        assert!(response.headers().contains_key(header::RETRY_AFTER) && body.contains("REQUEST_TIMED_OUT"), "{body}");
    }
}
