//! `GET /api/v1/schedules`: schedules, newest first, in pages.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Schedule;
use crate::db::schedules::ScheduleFilter;
use crate::domain::validate;
use crate::http::ApiState;
use crate::http::auth::{Allowed, Viewer};
use crate::http::deploy::list::{cursor, limit, named, page, read_cursor};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::extract::QueryParams;
use crate::http::problem::Problem;

// ---- What it takes

/// Which schedules. All filters must hold.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ScheduleQuery {
    /// Only this account or organisation.
    #[param(example = "acme")]
    pub owner: Option<String>,
    /// Only this repository.
    #[param(example = "shop")]
    pub repo: Option<String>,
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
pub struct SchedulePage {
    /// The schedules, newest first.
    pub schedules: Vec<Schedule>,
    /// Give it as `cursor` for the next page; null on the last one.
    #[schema(example = "MjAyNi0wMS0zMVQwOTozMDowMC4xMjM0NTZaIHNjaF94")]
    pub next_cursor: Option<String>,
}

// ---- The handler

/// List schedules
#[utoipa::path(
    get, path = "/api/v1/schedules", tag = "schedules", operation_id = "listSchedules",
    params(ScheduleQuery),
    responses(
        (status = 200, description = "One page, newest first.", body = Envelope<SchedulePage>),
        (status = 400, description = "A parameter is not valid: `field` names it.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<Viewer>,
    QueryParams(query): QueryParams<ScheduleQuery>,
) -> Result<Envelope<SchedulePage>, ApiError> {
    let wanted = limit(query.limit.as_deref())?;
    let filter = ScheduleFilter {
        owner: named("owner", query.owner, validate::owner)?,
        repo: named("repo", query.repo, validate::repo)?,
        before: query.cursor.as_deref().map(read_cursor).transpose()?,
        limit: wanted + 1,
    };
    let rows = state.db.schedules(caller.scope(), &filter).await?;
    let (rows, next_cursor) = page(rows, wanted, |row| cursor(row.created_at, &row.id));
    let schedules = rows.into_iter().map(Schedule::from).collect();
    Ok(Envelope::new("배포 일정 목록 조회 성공", SchedulePage { schedules, next_cursor }))
}
