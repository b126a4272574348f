//! The head of an answer that is an event stream, and its first comments.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;

use super::frame::comment;
use super::held::Held;
use super::viewer::Viewer;
use crate::http::ApiState;
use crate::http::auth::Right;
use crate::http::error::ApiError;
use crate::http::extract::Client;

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

/// What is answered to whoever asks for a stream and is not let in. When that is because nobody can say who they are, they are held.
///
/// # Errors
/// `error` itself, unless it is a database that is away; or there are too many streams.
pub fn not_admitted(state: &ApiState, Client(client): Client, error: ApiError) -> Result<Response, ApiError> {
    match error {
        ApiError::Database(away) if away.is_unavailable() => {
            let seat = state.seats.take(client)?;
            let (course, lifetime) =
                (Held::new(state.db.clone(), state.shutdown.clone()), state.config.stream_lifetime());
            let viewer = Viewer::new(course, seat, Right::none(), lifetime, [comment(AWAY)]);
            Ok(stream(Body::from_stream(viewer.into_stream())))
        }
        error => Err(error),
    }
}
