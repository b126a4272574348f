//! Rejects API requests while the database has another schema than this version works with: before and during a migration.
//!
//! Statements on another schema may fail in any way or succeed by half, so none is sent.
//!
//! This middleware is not in `middleware`, because it holds streams open with `sse`, which depends on `middleware`.

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use crate::http::ApiState;
use crate::http::error::ApiError;
use crate::http::middleware::real_ip::Client;
use crate::http::sse::stream::response::reject_or_hold;

/// Routes of event streams. They never answer 503, because `EventSource` would never reconnect.
const STREAMS: [&str; 2] = ["/api/v1/deploy/{id}/events", "/api/v1/events"];

/// Passes requests that need no database, and all requests once the schema is usable. Otherwise answers 503; streams are held open instead.
pub async fn require_schema(State(state): State<ApiState>, client: Client, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    if !route.starts_with("/api/v1/") {
        return next.run(request).await;
    }
    let Err(pending) = state.db.check_schema_pending() else { return next.run(request).await };
    let error = ApiError::from(pending);
    if STREAMS.contains(&route) {
        return reject_or_hold(&state, client, error).into_response();
    }
    error.into_response()
}
