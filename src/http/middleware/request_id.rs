//! The header `X-Request-Id`, which links a response to its log lines.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;

/// Header that carries the id of a request; its log lines have the same id.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest id that is accepted from a client, in bytes. Bounded because every log line repeats it.
const MAX_REQUEST_ID: usize = 128;

/// Removes a client's request id that is too long or has characters unsafe in a log, so that a new id is generated.
pub async fn validate_request_id(mut request: Request, next: Next) -> Response {
    let is_valid = |id: &HeaderValue| {
        id.len() <= MAX_REQUEST_ID && id.as_bytes().iter().all(|b| b.is_ascii_alphanumeric() || b"-_.:/".contains(b))
    };
    if request.headers().get(REQUEST_ID).is_some_and(|id| !is_valid(id)) {
        request.headers_mut().remove(REQUEST_ID);
    }
    next.run(request).await
}

/// The id of a request; empty when it has none.
pub fn request_id(headers: &HeaderMap) -> &str {
    headers.get(REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or_default()
}
