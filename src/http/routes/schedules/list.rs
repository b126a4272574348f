//! `GET /api/v1/schedules`: lists schedules, newest first, in pages.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Schedule;
use crate::db::schedules::ScheduleFilter;
use crate::domain::validate;
use crate::http::ApiState;
use crate::http::auth::{RequireRole, Viewer};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;
use crate::http::extract::QueryParams;
use crate::http::language::{AskedLang, Labelled};
use crate::http::pagination::{decode_cursor, encode_cursor, name_filter, parse_limit, split_page};

// ---- Request

/// Filters of the list; a schedule must match all of them.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ScheduleQuery {
    /// Only schedules of this account or organisation.
    #[param(example = "acme")]
    pub owner: Option<String>,
    /// Only schedules of this repository.
    #[param(example = "shop")]
    pub repo: Option<String>,
    /// Maximum number of rows, 1 to 100; 20 when absent.
    #[param(example = 20, minimum = 1, maximum = 100, value_type = Option<i64>)]
    pub limit: Option<String>,
    /// The `nextCursor` of the previous page.
    #[param(example = "MjAyNi0wMS0zMVQwOTozMDowMC4xMjM0NTZaIHNjaF94")]
    pub cursor: Option<String>,
}

// ---- Response

/// One page of the list of schedules.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SchedulePage {
    /// Matching schedules, newest first.
    pub schedules: Vec<Schedule>,
    /// Value of `cursor` for the next page; null on the last page.
    #[schema(example = "MjAyNi0wMS0zMVQwOTozMDowMC4xMjM0NTZaIHNjaF94")]
    pub next_cursor: Option<String>,
}

// ---- Handler

/// List schedules, newest first
#[utoipa::path(
    get, path = "/api/v1/schedules", tag = "schedules", operation_id = "listSchedules",
    params(ScheduleQuery),
    responses(
        (status = 200, description = "One page, newest first.", body = Envelope<SchedulePage>),
        (status = 400, description = "Invalid parameter, named by `field`.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { caller, .. }: RequireRole<Viewer>,
    QueryParams(query): QueryParams<ScheduleQuery>,
    lang: AskedLang,
) -> Result<Labelled<Envelope<SchedulePage>>, ApiError> {
    let wanted = parse_limit(query.limit.as_deref())?;
    let filter = ScheduleFilter {
        owner: name_filter("owner", query.owner, validate::owner)?,
        repo: name_filter("repo", query.repo, validate::repo)?,
        before: query.cursor.as_deref().map(decode_cursor).transpose()?,
        limit: wanted + 1,
    };
    let rows = state.db.schedules(caller.scope(), &filter).await?;
    let (rows, next_cursor) = split_page(rows, wanted, |row| encode_cursor(row.created_at, &row.id));
    let lang = lang.texts();
    let schedules = rows.into_iter().map(|row| Schedule::new(row, lang)).collect();
    Ok(Labelled {
        lang, body: Envelope::new("배포 일정 목록 조회 성공", SchedulePage { schedules, next_cursor })
    })
}
