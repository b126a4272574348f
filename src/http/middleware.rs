//! What happens around every request.

use std::any::Any;

use axum::body::Body;
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderName, HeaderValue, Method, Response as HttpResponse, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tower_http::cors::{AllowOrigin, CorsLayer};
use tracing::Span;

use super::error::ApiError;

/// Header with the id under which the log tells of a request.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest id that is taken over from a client: it is repeated in every log line.
const MAX_REQUEST_ID: usize = 128;

/// Drops a client's request id that is not fit for a log, so that a new one is made.
pub async fn check_request_id(mut request: Request, next: Next) -> Response {
    let fit = |id: &HeaderValue| {
        id.len() <= MAX_REQUEST_ID && id.as_bytes().iter().all(|b| b.is_ascii_alphanumeric() || b"-_.:/".contains(b))
    };
    if request.headers().get(REQUEST_ID).is_some_and(|id| !fit(id)) {
        request.headers_mut().remove(REQUEST_ID);
    }
    next.run(request).await
}

/// The span of a request: its route, and neither query nor headers, which may hold what is not ours to keep.
pub fn span(request: &Request) -> Span {
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str);
    let id = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or_default();
    tracing::info_span!("request", method = %request.method(), route, id)
}

/// A panic is a fault of ours: the client learns nothing but that.
#[expect(clippy::needless_pass_by_value, reason = "the signature is the library's")]
pub fn panicked(panic: Box<dyn Any + Send + 'static>) -> HttpResponse<Body> {
    let text =
        panic.downcast_ref::<&str>().map(ToString::to_string).or_else(|| panic.downcast_ref::<String>().cloned());
    tracing::error!(panic = text.as_deref().unwrap_or("unknown"), "a request panicked");
    ApiError::Internal.into_response()
}

/// Lets browsers of these origins call the API; none when there are none.
pub fn cors(origins: &[String]) -> Option<CorsLayer> {
    let origins: Vec<HeaderValue> = origins.iter().filter_map(|origin| origin.parse().ok()).collect();
    if origins.is_empty() {
        return None;
    }
    Some(
        CorsLayer::new()
            .allow_origin(AllowOrigin::list(origins))
            .allow_methods([Method::GET, Method::POST])
            .allow_headers([
                header::ACCEPT,
                header::CACHE_CONTROL,
                header::CONTENT_TYPE,
                HeaderName::from_static("idempotency-key"),
                HeaderName::from_static("last-event-id"),
                REQUEST_ID,
            ])
            .expose_headers([header::RETRY_AFTER, REQUEST_ID])
            .max_age(std::time::Duration::from_hours(1)),
    )
}
