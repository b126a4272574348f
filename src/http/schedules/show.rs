//! `GET /api/v1/schedules/{id}`: one schedule, with its next times and its last run.

use axum::extract::State;

use super::Schedule;
use crate::http::ApiState;
use crate::http::auth::{Allowed, Viewer};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::extract::ScheduleId;
use crate::http::problem::Problem;

// ---- The handler

/// Show a schedule
#[utoipa::path(
    get, path = "/api/v1/schedules/{id}", tag = "schedules", operation_id = "showSchedule",
    params(("id" = String, Path, description = "The schedule.", example = "sch_4k1zq0v7w3m9x2c8b5n6")),
    responses(
        (status = 200, description = "The schedule.", body = Envelope<Schedule>),
        (status = 404, description = "There is no such schedule.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<Viewer>,
    ScheduleId(id): ScheduleId,
) -> Result<Envelope<Schedule>, ApiError> {
    let row = state.db.schedule(caller.scope(), &id).await?.ok_or(ApiError::ScheduleNotFound(id))?;
    Ok(Envelope::new("배포 일정 조회 성공", Schedule::from(row)))
}
