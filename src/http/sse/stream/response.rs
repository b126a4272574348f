//! Responses of the streaming endpoints: headers, and the comments sent before the first event.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;

use super::pending_stream::PendingStream;
use super::subscriber::{StreamTimes, Subscriber};
use crate::db::{Busy, DbError};
use crate::http::ApiState;
use crate::http::auth::Grant;
use crate::http::error::ApiError;
use crate::http::middleware::real_ip::Client;
use crate::http::sse::frame::comment;

/// Time limit of the first read of the table. After it the stream opens without knowing the state.
pub const FIRST_READ_TIMEOUT: Duration = Duration::from_secs(3);

/// First comment when the requested language is not supported.
pub const UNKNOWN_LANG: &str = "unknown lang: supported are ko and en; using the server's default";

/// First comment when the database could not be read yet.
pub const DATABASE_UNAVAILABLE: &str = "the database is unavailable; events follow once it is back";

/// First comment when the caller's other requests use all connections that one caller may use, before the stream could begin.
pub const CALLER_BUSY: &str =
    "your other requests use all database connections of one caller; reconnect when this stream ends";

/// Builds a 200 response with the headers of an event stream. `no-transform` keeps proxies from compressing it, which would hold events back until a
/// block is full; `x-accel-buffering` switches buffering off in nginx.
pub fn event_stream(body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, "text/event-stream; charset=utf-8"),
        (header::CACHE_CONTROL, "no-cache, no-transform"),
        (header::CONNECTION, "keep-alive"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// Times of a stream that ends after the configured lifetime.
pub fn rotated(state: &ApiState) -> StreamTimes {
    StreamTimes { lifetime: Some(state.config.stream_lifetime()), ..until_its_source_ends(state) }
}

/// Times of a stream without a lifetime.
pub fn until_its_source_ends(state: &ApiState) -> StreamTimes {
    StreamTimes { keep_alive: state.config.stream_keep_alive, lifetime: None }
}

/// Answers a stream request that failed with `error` before the stream began. When the database is unavailable the response is a pending stream,
/// since the caller cannot be authenticated and a 503 would end the browser's attempts.
///
/// # Errors
/// `error` itself, unless the database is unavailable; or too many streams are open.
pub fn reject_or_hold(state: &ApiState, Client(client): Client, error: ApiError) -> Result<Response, ApiError> {
    match error {
        ApiError::Database(error) if error.is_unavailable() => {
            let permit = state.stream_permits.acquire(client)?;
            let source = PendingStream::new(state.db.clone(), state.shutdown.clone());
            let cause =
                if matches!(error, DbError::Busy(Busy::Caller { .. })) { CALLER_BUSY } else { DATABASE_UNAVAILABLE };
            let subscriber = Subscriber::new(source, permit, Grant::none(), rotated(state), [comment(cause)]);
            Ok(event_stream(Body::from_stream(subscriber.into_stream())))
        }
        error => Err(error),
    }
}
