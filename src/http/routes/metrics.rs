//! `GET /metrics`: serves metrics to Prometheus.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use crate::http::error::server::ServerError;
use crate::http::middleware::caller_limit::CallerLimit;
use crate::http::{ApiError, ApiState};
use crate::metrics::MEDIA_TYPE;

/// Get the metrics
///
/// Returns the `OpenMetrics` text format. docs/operations.md explains each metric.
#[utoipa::path(
    get, path = "/metrics", tag = "probes", operation_id = "metrics", security(()),
    responses((status = 200, description = "All metrics of this replica.", body = String, content_type = "application/openmetrics-text"))
)]
pub async fn handle(State(state): State<ApiState>) -> Response {
    if state.config.metrics_listen.is_some() {
        return ApiError::from(ServerError::RouteNotFound).into_response();
    }
    handle_separately(State(state)).await
}

/// `GET /metrics` at the address of `PANDA_METRICS_LISTEN`.
pub async fn handle_separately(State(state): State<ApiState>) -> Response {
    state.metrics.database.set(&state.db.usage());
    state.metrics.database.set_callers(&[&state.requests, &state.reports, &state.replays].map(CallerLimit::usage));
    state.metrics.database.set_trouble(state.db.trouble().is_some());
    state.metrics.streams.set(state.stream_permits.in_use(), state.stream_permits.bytes_sent());
    ([(header::CONTENT_TYPE, MEDIA_TYPE)], state.metrics.text()).into_response()
}
