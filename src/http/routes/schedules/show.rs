//! `GET /api/v1/schedules/{id}`: shows a schedule with its next times and its last run.

use axum::extract::State;

use super::Schedule;
use crate::commands::schedules::error::ScheduleError;
use crate::http::ApiState;
use crate::http::auth::{RequireRole, Viewer};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;
use crate::http::language::{AskedLang, Labelled};
use crate::http::routes::schedules::path::ScheduleId;

// ---- Handler

/// Show a schedule and its next times
#[utoipa::path(
    get, path = "/api/v1/schedules/{id}", tag = "schedules", operation_id = "showSchedule",
    params(("id" = String, Path, description = "Id of the schedule.", example = "sch_4k1zq0v7w3m9x2c8b5n6")),
    responses(
        (status = 200, description = "The schedule.", body = Envelope<Schedule>),
        (status = 404, description = "No such schedule.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { caller, .. }: RequireRole<Viewer>,
    ScheduleId(id): ScheduleId,
    lang: AskedLang,
) -> Result<Labelled<Envelope<Schedule>>, ApiError> {
    let row = state.db.schedule(caller.scope(), &id).await?.ok_or(ScheduleError::NotFound(id))?;
    let lang = lang.texts();
    Ok(Labelled { lang, body: Envelope::new("배포 일정 조회 성공", Schedule::new(row, lang)) })
}
