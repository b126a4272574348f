//! `GET /readyz`: readiness probe, true when load balancers should send requests to this replica.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::message::message;
use crate::http::ApiState;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;
use crate::http::error::server::ServerError;
use crate::http::json::Json;

/// Response of a ready replica.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Readiness {
    /// Always `ok`; a failure has another HTTP status and a problem body.
    #[schema(example = "ok")]
    pub status: &'static str,
    /// Seconds since the most overdue deployment should have been processed; 0 when none is overdue. Does not affect readiness: callers who follow
    /// that deployment still need this replica.
    #[schema(example = 0.0)]
    pub oldest_overdue_seconds: f64,
}

/// Check that the replica can serve requests
#[utoipa::path(
    get, path = "/readyz", tag = "probes", operation_id = "readyz", security(()),
    responses(
        (status = 200, description = "The database answers and accepts writes, its schema works with this version, the role has all privileges, and the process is not shutting down.", body = Readiness),
        (status = 500, description = "Internal error.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Not ready; `detail` names the cause.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(State(state): State<ApiState>) -> Result<Json<Readiness>, ApiError> {
    if state.shutdown.is_cancelled() {
        return Err(ServerError::NotReady(message!("NOT_READY.stopping")).into());
    }
    if let Err(pending) = state.db.check_schema_pending() {
        return Err(ServerError::NotReady(pending.message()).into());
    }
    state.readiness.check(&state.db).await?;
    Ok(Json(Readiness { status: "ok", oldest_overdue_seconds: state.metrics.reconcile.oldest_overdue_seconds() }))
}
