//! `GET /readyz`: whether requests should be sent here.

use axum::Json;
use axum::extract::State;

use super::ApiState;
use super::error::ApiError;
use super::healthz::Health;
use super::problem::Problem;

/// Readiness.
#[utoipa::path(
    get, path = "/readyz", tag = "probes", operation_id = "readyz",
    responses(
        (status = 200, description = "The database answers and takes writes, its schema is the one of this version, the process is not ending.", body = Health),
        (status = 500, description = "Internal error.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Not ready; `detail` names what is missing.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(State(state): State<ApiState>) -> Result<Json<Health>, ApiError> {
    if state.shutdown.is_cancelled() {
        return Err(ApiError::NotReady("the process is shutting down".to_owned()));
    }
    match state.db.is_migrated().await {
        Ok(true) => {}
        Ok(false) => {
            return Err(ApiError::NotReady("the database schema is not up to date; run `panda migrate`".to_owned()));
        }
        Err(error) if error.is_unavailable() => {
            tracing::warn!(%error, "not ready");
            return Err(ApiError::NotReady(state.db.in_words(&error)));
        }
        Err(error) => return Err(error.into()),
    }
    // It may answer and still take no writes: wishes are writes.
    match state.db.trouble() {
        None => Ok(Json(Health::OK)),
        Some(trouble) => {
            tracing::warn!(trouble, "not ready");
            Err(ApiError::NotReady(trouble))
        }
    }
}
