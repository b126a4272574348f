//! Middleware around every request: request ids, tracing, admission (rates, time limits, hosts, CSRF), security headers, CORS and panics.

mod admission;
pub mod audit_refusals;
pub mod base_path;
pub mod caller_limit;
pub mod csrf;
pub mod error;
mod host;
mod rate_limit;
pub mod real_ip;
pub mod request_id;
pub mod request_metrics;
pub mod security_headers;

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

use crate::config::HttpConfig;
use crate::http::error::server::ServerError;
use crate::http::error::{ApiError, problem};
use admission::Admission;
pub use admission::PROBES;
use request_id::{REQUEST_ID, request_id, validate_request_id};

/// Wraps the routes in all middleware, configured by `config`.
pub fn wrap(routes: Router, config: &HttpConfig) -> Router {
    // The last layer runs first.
    let app = routes
        .layer(from_fn(catch_panics))
        .layer(from_fn_with_state(Admission::new(config), admission::admit))
        .layer(from_fn(problem::add_body))
        .layer(from_fn(security_headers::add_headers))
        .layer(from_fn(trace_request))
        .layer(PropagateRequestIdLayer::new(REQUEST_ID))
        .layer(SetRequestIdLayer::new(REQUEST_ID, MakeRequestUuid))
        .layer(from_fn(validate_request_id));
    match cors(&config.cors_origins) {
        Some(cors) => app.layer(cors),
        None => app,
    }
}

/// The tracing span of a request. It carries the route, but neither query nor headers, which may hold secrets.
fn span(request: &Request) -> Span {
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str);
    let request_id = request_id(request.headers());
    tracing::info_span!("request", method = %request.method(), route, request_id, caller = tracing::field::Empty)
}

/// Runs the request in its span until the response head is ready. tower-http's layer keeps the span until the last byte of the body: ten thousand
/// streams would each hold a span and enter it for each event. Errors are logged where they become responses.
async fn trace_request(request: Request, next: Next) -> Response {
    let (span, begun) = (span(&request), Instant::now());
    async move {
        let response = next.run(request).await;
        let latency_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::debug!(status = response.status().as_u16(), latency_ms, "request answered");
        response
    }
    .instrument(span)
    .await
}

/// Answers 500 without details when a handler panics. tower-http's layer is not used because it would box the body of each stream once more.
async fn catch_panics(request: Request, next: Next) -> Response {
    match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        // The panic hook has logged the message already, with this request's id.
        Err(_) => ApiError::from(ServerError::Internal).into_response(),
    }
}

/// Request headers that the API reads, and those of tracing libraries, which send all three or none (W3C Trace Context, Baggage). A test compares them
/// with the headers of the OpenAPI document.
const REQUEST_HEADERS: [HeaderName; 11] = [
    header::ACCEPT,
    header::ACCEPT_LANGUAGE,
    header::AUTHORIZATION,
    HeaderName::from_static("baggage"),
    header::CACHE_CONTROL,
    header::CONTENT_TYPE,
    HeaderName::from_static("idempotency-key"),
    HeaderName::from_static("last-event-id"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    REQUEST_ID,
];

/// Allows browsers on pages of `origins` to call the API; none when `origins` is empty.
fn cors(origins: &[String]) -> Option<CorsLayer> {
    let origins: Vec<HeaderValue> = origins.iter().filter_map(|origin| origin.parse().ok()).collect();
    if origins.is_empty() {
        return None;
    }
    Some(
        CorsLayer::new()
            .allow_origin(AllowOrigin::list(origins))
            .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
            // Safe, because the origins are listed one by one, and a session's cookie only reads, as a viewer, for pages of other origins.
            .allow_credentials(true)
            .allow_headers(REQUEST_HEADERS)
            .expose_headers([header::CONTENT_LANGUAGE, header::RETRY_AFTER, REQUEST_ID])
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

    async fn send(flags: &[&str], path: &'static str) -> (Response, String) {
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
    async fn panic_becomes_problem_without_details() {
        let (response, body) = send(&[], "/boom").await;
        assert_eq!(response.status(), 500);
        assert_eq!(response.headers()[header::CONTENT_TYPE], problem::MEDIA_TYPE);
        assert!(response.headers().contains_key(REQUEST_ID));
        assert!(
            body.contains("\"instance\":\"/boom\"") && body.contains("INTERNAL") && !body.contains("s3cr3t"),
            "{body}"
        );
    }
    #[tokio::test]
    async fn endless_request_times_out() {
        let (response, body) = send(&["--request-timeout-ms=50"], "/never").await;
        assert_eq!(response.status(), 503);
        assert!(response.headers().contains_key(header::RETRY_AFTER) && body.contains("REQUEST_TIMED_OUT"), "{body}");
    }
}
