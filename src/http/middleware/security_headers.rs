//! Security headers, such as the content security policy, on every response.

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;

/// Policy of the web page: everything is loaded from this server, and nothing inline is run or applied.
pub const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                    base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Policy of the API page (Swagger UI): everything is loaded from this server. Its script writes styles inline.
const API_PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; \
                    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Policy of all other responses, which are data: a browser that renders one as a page must load and run nothing.
const DATA_POLICY: &str = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HEADERS: [(HeaderName, &str); 4] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    // For browsers without support for frame-ancestors.
    (header::X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    // Keeps foreign pages from embedding responses with <img> or <script>. Pages of PANDA_CORS_ORIGINS use CORS and are not affected.
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// Adds the headers. A response with a `Cache-Control` header, such as an event stream, keeps it, and the web page its content security policy and its
/// referrer policy: with `no-referrer`, a browser would send `Origin: null` with the page's own forms.
pub async fn add_headers(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let (is_api_page, is_api) = (path.starts_with("/swagger-ui"), path.starts_with("/api/"));
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::REFERRER_POLICY).or_insert(HeaderValue::from_static("no-referrer"));
    let policy = HeaderValue::from_static(if is_api_page { API_PAGE_POLICY } else { DATA_POLICY });
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(policy);
    if is_api && !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}
