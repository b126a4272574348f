//! `DELETE /api/v1/schedules/{id}`: deletes a schedule.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::commands::schedules::delete::delete;
use crate::http::ApiState;
use crate::http::auth::{Deployer, RequireRole};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;
use crate::http::routes::schedules::path::ScheduleId;

// ---- Response

/// Confirms the deletion of a schedule.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleDeleted {
    /// Id of the deleted schedule.
    #[schema(example = "sch_4k1zq0v7w3m9x2c8b5n6")]
    pub schedule_id: String,
}

// ---- Handler

/// Delete a schedule
///
/// Deployments that it has started continue.
#[utoipa::path(
    delete, path = "/api/v1/schedules/{id}", tag = "schedules", operation_id = "deleteSchedule",
    params(("id" = String, Path, description = "Id of the schedule.", example = "sch_4k1zq0v7w3m9x2c8b5n6")),
    responses(
        (status = 200, description = "The schedule is deleted.", body = Envelope<ScheduleDeleted>),
        (status = 403, description = "The caller may not deploy.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such schedule.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { caller, .. }: RequireRole<Deployer>,
    ScheduleId(id): ScheduleId,
) -> Result<Envelope<ScheduleDeleted>, ApiError> {
    delete(&state.db, &id, &caller).await?;
    tracing::info!(schedule = %id, "schedule deleted");
    Ok(Envelope::new("배포 일정이 삭제되었습니다.", ScheduleDeleted { schedule_id: id }))
}
