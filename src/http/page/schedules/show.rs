//! `GET /schedules/{id}`: one schedule with its next times and its runs, latest first.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;

use super::row::{RunRow, ScheduleForm, ScheduleRow};
use crate::commands::schedules::error::ScheduleError;
use crate::db::schedules::ScheduleRunFilter;
use crate::http::ApiState;
use crate::http::error::ApiError;
use crate::http::extract::QueryParams;
use crate::http::page::context::{Page, Visitor, render};
use crate::http::page::deploy_fields::{Connections, DeployForm, DeployValues};
use crate::http::pagination::{decode_cursor, encode_cursor, split_page};
use crate::http::routes::schedules::path::ScheduleId;
use crate::http::routes::schedules::{Schedule, ScheduleRun};

/// Largest number of runs on a page.
const PAGE_RUNS: i64 = 30;

/// Cursor of the list of runs.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct RunsPosition {
    cursor: String,
}

#[derive(Template)]
#[template(path = "schedule.html")]
struct ScheduleDetails {
    page: Page,
    row: ScheduleRow,
    runs: Vec<RunRow>,
    next_cursor: Option<String>,
    form: ScheduleForm,
    fields: DeployForm,
}

/// Shows a schedule with a page of its runs.
pub async fn handle(
    State(state): State<ApiState>,
    Visitor { page, caller }: Visitor,
    ScheduleId(id): ScheduleId,
    QueryParams(query): QueryParams<RunsPosition>,
) -> Result<Response, ApiError> {
    let found = state.db.schedule(caller.scope(), &id).await?.ok_or_else(|| ScheduleError::NotFound(id.clone()))?;
    let schedule = Schedule::new(found, Some(page.lang));
    let cursor = (!query.cursor.is_empty()).then(|| decode_cursor(&query.cursor)).transpose()?;
    let filter = ScheduleRunFilter { before: cursor.map(|(due_at, _)| due_at), limit: PAGE_RUNS + 1 };
    let runs = state.db.schedule_runs(&id, &filter).await?;
    let (runs, next_cursor) = split_page(runs, PAGE_RUNS, |run| encode_cursor(run.due_at, &id));
    let runs = runs.into_iter().map(|run| RunRow::from(ScheduleRun::new(run, Some(page.lang)))).collect();
    let connections = Connections::read(&state, &caller, page.may("deployer")).await?;
    let values = DeployValues::from(schedule.deploy.clone());
    let mut fields = DeployForm::new(&state, "deploy.", connections, values);
    fields.concurrency.clone_from(&schedule.concurrency);
    let form = ScheduleForm::from(&schedule);
    let row = ScheduleRow::from(schedule);
    render(&page.clone(), &ScheduleDetails { page, row, runs, next_cursor, form, fields })
}
