//! `GET /api/v1/schedules/{id}/runs`: what became of each time, latest first, in pages.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ScheduleRun;
use crate::db::schedules::RunFilter;
use crate::http::ApiState;
use crate::http::auth::{Allowed, Viewer};
use crate::http::deploy::list::{cursor, limit, page, read_cursor};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::extract::{QueryParams, ScheduleId};
use crate::http::problem::Problem;

// ---- What it takes

/// Which of them.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RunsQuery {
    /// Rows of the page, 1 to 100; 20 when absent.
    #[param(example = 20, minimum = 1, maximum = 100, value_type = Option<i64>)]
    pub limit: Option<String>,
    /// The `nextCursor` of the page before.
    #[param(example = "MjAyNi0wMS0zMVQwOTozMDowMC4xMjM0NTZaIHNjaF94")]
    pub cursor: Option<String>,
}

// ---- What it answers

/// One page.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunPage {
    /// What became of each time, latest first.
    pub runs: Vec<ScheduleRun>,
    /// Give it as `cursor` for the next page; null on the last one.
    #[schema(example = "MjAyNi0wMS0zMVQwOTozMDowMC4xMjM0NTZaIHNjaF94")]
    pub next_cursor: Option<String>,
}

// ---- The handler

/// List what became of a schedule's times
#[utoipa::path(
    get, path = "/api/v1/schedules/{id}/runs", tag = "schedules", operation_id = "listScheduleRuns",
    params(("id" = String, Path, description = "The schedule.", example = "sch_4k1zq0v7w3m9x2c8b5n6"), RunsQuery),
    responses(
        (status = 200, description = "One page, latest first.", body = Envelope<RunPage>),
        (status = 400, description = "A parameter is not valid: `field` names it.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such schedule.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<Viewer>,
    ScheduleId(id): ScheduleId,
    QueryParams(query): QueryParams<RunsQuery>,
) -> Result<Envelope<RunPage>, ApiError> {
    let wanted = limit(query.limit.as_deref())?;
    let before = query.cursor.as_deref().map(read_cursor).transpose()?.map(|(due_at, _)| due_at);
    if state.db.schedule(caller.scope(), &id).await?.is_none() {
        return Err(ApiError::ScheduleNotFound(id));
    }
    let rows = state.db.schedule_runs(&id, &RunFilter { before, limit: wanted + 1 }).await?;
    let (rows, next_cursor) = page(rows, wanted, |row| cursor(row.due_at, &id));
    let runs = rows.into_iter().map(ScheduleRun::from).collect();
    Ok(Envelope::new("배포 일정 실행 기록 조회 성공", RunPage { runs, next_cursor }))
}
