//! `GET /readyz`: readiness probe, true when load balancers should send requests to this replica.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::db::{Class, Db, DbError};
use crate::domain::schema::Fit;
use crate::http::ApiState;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;
use crate::http::error::server::ServerError;

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
        return Err(ServerError::NotReady("the process is shutting down".to_owned()).into());
    }
    if let Err(pending) = state.db.check_schema_pending() {
        return Err(ServerError::NotReady(pending.to_string()).into());
    }
    // A dedicated connection class, so that readiness can be determined under any load.
    let db = state.db.of(Class::Probe);
    match db.schema().await {
        Ok(Fit::Fits { .. }) => {}
        Ok(Fit::Behind) => {
            return Err(
                ServerError::NotReady("the database schema is not up to date; run `panda migrate`".to_owned()).into()
            );
        }
        Err(error) if error.is_unavailable() => {
            tracing::warn!(%error, "replica not ready");
            return Err(ServerError::NotReady(db.describe(&error)).into());
        }
        Err(DbError::Unusable(cause)) => return Err(ServerError::NotReady(cause.to_string()).into()),
        Err(DbError::TooNew(too_new)) => return Err(ServerError::NotReady(too_new.to_string()).into()),
        Err(error) => return Err(error.into()),
    }
    check_privileges(&db).await?;
    // The database may answer queries and still reject writes, which every command needs.
    match state.db.trouble() {
        None => Ok(Json(Readiness {
            status: "ok",
            oldest_overdue_seconds: state.metrics.reconcile.oldest_overdue_seconds(),
        })),
        Some(trouble) => {
            tracing::warn!(trouble, "replica not ready");
            Err(ServerError::NotReady(trouble).into())
        }
    }
}

/// Checks that the database role has all privileges that the program needs. A later migration may have added a table without a grant to the role.
async fn check_privileges(db: &Db) -> Result<(), ApiError> {
    match db.missing_privilege().await {
        Ok(None) => Ok(()),
        Ok(Some(missing)) => {
            let reason = missing.to_string();
            tracing::warn!(reason, "replica not ready");
            Err(ServerError::NotReady(reason).into())
        }
        Err(error) if error.is_unavailable() => Err(ServerError::NotReady(db.describe(&error)).into()),
        Err(error) => Err(error.into()),
    }
}
