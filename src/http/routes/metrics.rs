//! `GET /metrics`: serves metrics to Prometheus.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use crate::http::ApiState;
use crate::http::middleware::caller_limit::CallerLimit;
use crate::metrics::MEDIA_TYPE;

/// Get the metrics
///
/// Returns the `OpenMetrics` text format. docs/operations.md explains each metric.
#[utoipa::path(
    get, path = "/metrics", tag = "probes", operation_id = "metrics", security(()),
    responses((status = 200, description = "All metrics of this replica.", body = String, content_type = "application/openmetrics-text"))
)]
pub async fn handle(State(state): State<ApiState>) -> Response {
    state.metrics.database.set(&state.db.usage());
    state.metrics.database.set_callers(&[&state.requests, &state.reports, &state.replays].map(CallerLimit::usage));
    state.metrics.database.set_trouble(state.db.trouble().is_some());
    state.metrics.streams.set(state.stream_permits.in_use(), state.stream_permits.bytes_sent());
    ([(header::CONTENT_TYPE, MEDIA_TYPE)], state.metrics.text()).into_response()
}
