//! What a browser must know to treat an answer with care.

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;

/// The page that shows the API: all of it comes from here. Its styles are partly written by its script.
const PAGE: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; \
                    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Everything else is data: should a browser take it for a page, that page may do nothing.
const DATA: &str = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const ALWAYS: [(HeaderName, &str); 5] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    // For browsers that do not know frame-ancestors.
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    // Not for pages of PANDA_CORS_ORIGINS, which ask with CORS: for an <img> or <script> of somebody else.
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// Adds them. An answer that says itself how it may be kept is believed: event streams do.
pub async fn add(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let (is_page, is_api) = (path.starts_with("/swagger-ui"), path.starts_with("/api/"));
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in ALWAYS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let policy = HeaderValue::from_static(if is_page { PAGE } else { DATA });
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    if is_api && !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}
