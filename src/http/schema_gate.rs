//! Answers requests while the schema is not the one that this version works with: before and during the first migration.
//!
//! Statements on another schema fail in any way, or half succeed. So none is sent.

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::ApiState;
use super::error::ApiError;
use super::extract::Client;
use super::stream::answer::not_admitted;

/// Routes of event streams, which are never answered with 503: `EventSource` would give up for good.
const STREAMS: [&str; 2] = ["/api/v1/deploy/{id}/events", "/api/v1/events"];

/// Lets requests through that need no database, and all once the schema can be used. Others get 503; streams are held.
pub async fn guard(State(state): State<ApiState>, client: Client, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    if !route.starts_with("/api/v1/") {
        return next.run(request).await;
    }
    let Err(pending) = state.db.check_schema_pending() else { return next.run(request).await };
    let error = ApiError::from(pending);
    if STREAMS.contains(&route) {
        return not_admitted(&state, client, error).into_response();
    }
    error.into_response()
}
