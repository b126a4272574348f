//! `DELETE /api/v1/schedules/{id}`: no more starts.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::ApiState;
use crate::http::auth::{Allowed, Deployer};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::extract::ScheduleId;
use crate::http::problem::Problem;

// ---- What it answers

/// No schedule any more.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleDeleted {
    /// What named it.
    #[schema(example = "sch_4k1zq0v7w3m9x2c8b5n6")]
    pub schedule_id: String,
}

// ---- The handler

/// Delete a schedule
///
/// What it has started goes on.
#[utoipa::path(
    delete, path = "/api/v1/schedules/{id}", tag = "schedules", operation_id = "deleteSchedule",
    params(("id" = String, Path, description = "The schedule.", example = "sch_4k1zq0v7w3m9x2c8b5n6")),
    responses(
        (status = 200, description = "Deleted.", body = Envelope<ScheduleDeleted>),
        (status = 403, description = "The caller may not deploy.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such schedule.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<Deployer>,
    ScheduleId(id): ScheduleId,
) -> Result<Envelope<ScheduleDeleted>, ApiError> {
    if !state.db.delete_schedule(&id, &caller).await? {
        return Err(ApiError::ScheduleNotFound(id));
    }
    tracing::info!(schedule = %id, "a schedule was deleted");
    Ok(Envelope::new("배포 일정이 삭제되었습니다.", ScheduleDeleted { schedule_id: id }))
}
