//! `DELETE /api/v1/freezes/{id}`: lifts a freeze before its end.

use axum::extract::State;

use super::ShownFreeze;
use super::path::FreezeId;
use crate::commands::freezes::lift;
use crate::http::ApiState;
use crate::http::auth::{Admin, RequireRole};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;

// ---- Handler

/// Lift a freeze
///
/// Deployments that waited for its end start immediately, unless another freeze holds them. A freeze that has ended, or was lifted before, stays as it is.
/// Requires the role admin of what it covers.
#[utoipa::path(
    delete, path = "/api/v1/freezes/{id}", tag = "freezes", operation_id = "liftFreeze",
    params(("id" = String, Path, description = "Id of the freeze.", example = "frz_4k1zq0v7w3m9x2c8b5n6")),
    responses(
        (status = 200, description = "The freeze holds nothing any more.", body = Envelope<ShownFreeze>),
        (status = 403, description = "The caller is not an admin of what the freeze covers.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such freeze.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { caller, .. }: RequireRole<Admin>,
    FreezeId(id): FreezeId,
) -> Result<Envelope<ShownFreeze>, ApiError> {
    let lifted = lift(&state.db, &id, &caller).await?;
    tracing::info!(freeze = id, scope = lifted.scope, "freeze lifted");
    Ok(Envelope::new("배포 동결이 해제되었습니다.", ShownFreeze::from(lifted)))
}
