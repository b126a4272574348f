//! `GET /api/v1/schedules/{id}/runs`: lists the runs of a schedule, latest first, in pages.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::ScheduleRun;
use crate::commands::schedules::error::ScheduleError;
use crate::db::schedules::ScheduleRunFilter;
use crate::http::ApiState;
use crate::http::auth::{RequireRole, Viewer};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;
use crate::http::extract::QueryParams;
use crate::http::language::{AskedLang, Labelled};
use crate::http::pagination::{PageQuery, encode_cursor, split_page};
use crate::http::routes::schedules::path::ScheduleId;

// ---- Response

/// One page of a schedule's due times and their outcomes.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunPage {
    /// Outcomes of the schedule's times, latest first.
    pub runs: Vec<ScheduleRun>,
    /// Value of `cursor` for the next page; null on the last page.
    #[schema(example = "MjAyNi0wMS0zMVQwOTozMDowMC4xMjM0NTZaIHNjaF94")]
    pub next_cursor: Option<String>,
}

// ---- Handler

/// List the runs of a schedule
#[utoipa::path(
    get, path = "/api/v1/schedules/{id}/runs", tag = "schedules", operation_id = "listScheduleRuns",
    params(("id" = String, Path, description = "Id of the schedule.", example = "sch_4k1zq0v7w3m9x2c8b5n6"), PageQuery),
    responses(
        (status = 200, description = "One page, latest first.", body = Envelope<RunPage>),
        (status = 400, description = "Invalid parameter, named by `field`.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such schedule.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { caller, .. }: RequireRole<Viewer>,
    ScheduleId(id): ScheduleId,
    QueryParams(query): QueryParams<PageQuery>,
    lang: AskedLang,
) -> Result<Labelled<Envelope<RunPage>>, ApiError> {
    let (wanted, before) = query.validate()?;
    let before = before.map(|(due_at, _)| due_at);
    if state.db.schedule(caller.scope(), &id).await?.is_none() {
        return Err(ScheduleError::NotFound(id).into());
    }
    let rows = state.db.schedule_runs(&id, &ScheduleRunFilter { before, limit: wanted + 1 }).await?;
    let (rows, next_cursor) = split_page(rows, wanted, |row| encode_cursor(row.due_at, &id));
    let lang = lang.texts();
    let runs = rows.into_iter().map(|run| ScheduleRun::new(run, lang)).collect();
    Ok(Labelled {
        lang, body: Envelope::new("배포 일정 실행 기록 조회 성공", RunPage { runs, next_cursor })
    })
}
