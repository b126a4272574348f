//! `GET /readyz`: whether requests should be sent here.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::ApiState;
use super::error::ApiError;
use super::problem::Problem;
use crate::db::DbError;
use crate::domain::schema::Fit;

/// It is ready.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Readiness {
    /// Always `ok`: anything else is a problem with another status.
    #[schema(example = "ok")]
    pub status: &'static str,
    /// For how long the deployment that has been left alone for longest has been so, in seconds; 0 when there is none. No reason not to
    /// send requests here: those who look at the deployment would lose sight of it.
    #[schema(example = 0.0)]
    pub oldest_overdue_seconds: f64,
}

/// Readiness.
#[utoipa::path(
    get, path = "/readyz", tag = "probes", operation_id = "readyz", security(()),
    responses(
        (status = 200, description = "The database answers and takes writes, its schema works with this version, the process is not ending.", body = Readiness),
        (status = 500, description = "Internal error.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Not ready; `detail` names what is missing.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(State(state): State<ApiState>) -> Result<Json<Readiness>, ApiError> {
    if state.shutdown.is_cancelled() {
        return Err(ApiError::NotReady("the process is shutting down".to_owned()));
    }
    match state.db.schema().await {
        Ok(Fit::Fits { .. }) => {}
        Ok(Fit::Behind) => {
            return Err(ApiError::NotReady("the database schema is not up to date; run `panda migrate`".to_owned()));
        }
        Err(error) if error.is_unavailable() => {
            tracing::warn!(%error, "not ready");
            return Err(ApiError::NotReady(state.db.in_words(&error)));
        }
        Err(DbError::TooNew(too_new)) => return Err(ApiError::NotReady(too_new.to_string())),
        Err(error) => return Err(error.into()),
    }
    // It may answer and still take no writes: wishes are writes.
    match state.db.trouble() {
        None => Ok(Json(Readiness {
            status: "ok",
            oldest_overdue_seconds: state.metrics.reconcile.oldest_overdue_seconds(),
        })),
        Some(trouble) => {
            tracing::warn!(trouble, "not ready");
            Err(ApiError::NotReady(trouble))
        }
    }
}
