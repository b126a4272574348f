//! The head of an answer that is an event stream, and its first comments.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;

/// How long the first look may take before the stream is opened without it.
pub const FIRST_LOOK: Duration = Duration::from_secs(3);

/// Said when a language was asked for that there is none of.
pub const UNKNOWN_LANG: &str = "unknown lang: there are ko and en; telling in the server's language";

/// Said when nothing could be read yet.
pub const AWAY: &str = "the database is away; events follow when it is back";

/// 200 with the contract's headers.
pub fn stream(body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, "text/event-stream; charset=utf-8"),
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONNECTION, "keep-alive"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}
