//! `GET /schedules`: schedules, newest first, with the form that creates one.

mod row;
pub mod show;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;

use self::row::{ScheduleForm, ScheduleRow};
use super::context::{Page, Visitor, render};
use super::deploy_fields::{Connections, DeployForm, DeployValues};
use crate::db::schedules::ScheduleFilter;
use crate::http::ApiState;
use crate::http::error::ApiError;
use crate::http::extract::QueryParams;
use crate::http::pagination::{decode_cursor, encode_cursor, split_page};
use crate::http::routes::schedules::Schedule;

/// Schedules on a page.
const PAGE_ROWS: i64 = 50;

/// Position in the list.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct SchedulesPosition {
    cursor: String,
}

#[derive(Template)]
#[template(path = "schedules.html")]
struct SchedulesView {
    page: Page,
    rows: Vec<ScheduleRow>,
    next_cursor: Option<String>,
    form: ScheduleForm,
    fields: DeployForm,
}

/// Shows a page of schedules and the form of a new one.
pub async fn handle(
    State(state): State<ApiState>,
    Visitor { page, caller }: Visitor,
    QueryParams(query): QueryParams<SchedulesPosition>,
) -> Result<Response, ApiError> {
    let before = (!query.cursor.is_empty()).then(|| decode_cursor(&query.cursor)).transpose()?;
    let filter = ScheduleFilter { before, limit: PAGE_ROWS + 1, ..ScheduleFilter::default() };
    let rows = state.db.schedules(caller.scope(), &filter).await?;
    let (rows, next_cursor) = split_page(rows, PAGE_ROWS, |row| encode_cursor(row.created_at, &row.id));
    let rows = rows.into_iter().map(|row| ScheduleRow::from(Schedule::new(row, Some(page.lang)))).collect();
    let connections = Connections::read(&state, &caller, page.may("deployer")).await?;
    let values = DeployValues::chosen(&connections, "", "");
    let fields = DeployForm::new(&state, "deploy.", connections, values);
    render(&page.clone(), &SchedulesView { page, rows, next_cursor, form: ScheduleForm::default(), fields })
}
