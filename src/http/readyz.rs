//! `GET /readyz`: whether requests should be sent here.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::ApiState;
use super::error::ApiError;
use super::problem::Problem;
use crate::db::{Class, Db, DbError};
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
        (status = 200, description = "The database answers and takes writes, its schema works with this version, the role has all privileges, the process is not ending.", body = Readiness),
        (status = 500, description = "Internal error.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Not ready; `detail` names what is missing.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(State(state): State<ApiState>) -> Result<Json<Readiness>, ApiError> {
    if state.shutdown.is_cancelled() {
        return Err(ApiError::NotReady("the process is shutting down".to_owned()));
    }
    if let Err(pending) = state.db.check_schema_pending() {
        return Err(ApiError::NotReady(pending.to_string()));
    }
    // Its own connection: whatever requests and deployments do, it can be told whether the server is ready.
    let db = state.db.of(Class::Probe);
    match db.schema().await {
        Ok(Fit::Fits { .. }) => {}
        Ok(Fit::Behind) => {
            return Err(ApiError::NotReady("the database schema is not up to date; run `panda migrate`".to_owned()));
        }
        Err(error) if error.is_unavailable() => {
            tracing::warn!(%error, "not ready");
            return Err(ApiError::NotReady(db.in_words(&error)));
        }
        Err(DbError::Unusable(cause)) => return Err(ApiError::NotReady(cause.to_string())),
        Err(DbError::TooNew(too_new)) => return Err(ApiError::NotReady(too_new.to_string())),
        Err(error) => return Err(error.into()),
    }
    check_privileges(&db).await?;
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

/// Whether the role may do all that the program does. A later migration may have added a table that it was not granted.
async fn check_privileges(db: &Db) -> Result<(), ApiError> {
    match db.missing_privilege().await {
        Ok(None) => Ok(()),
        Ok(Some(missing)) => {
            let reason = missing.to_string();
            tracing::warn!(reason, "not ready");
            Err(ApiError::NotReady(reason))
        }
        Err(error) if error.is_unavailable() => Err(ApiError::NotReady(db.in_words(&error))),
        Err(error) => Err(error.into()),
    }
}
