//! `GET /freezes`: freezes in force, to come and past, with the form that creates one.

mod choices;
pub mod row;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;

use self::choices::scope_choices;
use self::row::FreezeRow;
use super::context::{Page, Visitor, render};
use crate::http::ApiState;
use crate::http::error::ApiError;
use crate::http::extract::QueryParams;
use crate::http::pagination::{decode_cursor, encode_cursor, split_page};

/// Largest number of freezes in force or to come that the view shows.
const PENDING_ROWS: i64 = 100;

/// Past freezes on a page.
const PAST_ROWS: i64 = 30;

/// Position in the list of past freezes.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct PastPosition {
    cursor: String,
}

#[derive(Template)]
#[template(path = "freezes.html")]
struct FreezesView {
    page: Page,
    /// Those in force, and those to come, by the name of their list.
    pending: [(&'static str, Vec<FreezeRow>); 2],
    /// More freezes are in force or to come than are shown.
    has_more: bool,
    past: Vec<FreezeRow>,
    next_cursor: Option<String>,
    /// Scopes that the form suggests: those that the caller may freeze.
    scopes: Vec<String>,
}

/// Shows the freezes that concern the caller's scope.
pub async fn handle(
    State(state): State<ApiState>,
    Visitor { page, caller }: Visitor,
    QueryParams(query): QueryParams<PastPosition>,
) -> Result<Response, ApiError> {
    let before = (!query.cursor.is_empty()).then(|| decode_cursor(&query.cursor)).transpose()?;
    let pending = state.db.freezes(caller.scope(), Some(true), None, PENDING_ROWS + 1).await?;
    let (pending, more) = split_page(pending, PENDING_ROWS, |row| row.id.clone());
    let past = state.db.freezes(caller.scope(), Some(false), before, PAST_ROWS + 1).await?;
    let (past, next_cursor) = split_page(past, PAST_ROWS, |row| encode_cursor(row.created_at, &row.id));
    let rows = |found: Vec<_>| found.into_iter().map(|row| FreezeRow::of(&page, row, &caller)).collect::<Vec<_>>();
    let (mut in_force, mut coming): (Vec<_>, Vec<_>) = rows(pending).into_iter().partition(FreezeRow::is_in_force);
    in_force.sort_by_key(|row| row.ends_at);
    coming.sort_by_key(|row| row.starts_at);
    let past = rows(past);
    let scopes = if page.may("admin") { scope_choices(&state, &caller).await? } else { Vec::new() };
    let has_more = more.is_some();
    let pending = [("in_force", in_force), ("coming", coming)];
    render(&page.clone(), &FreezesView { page, pending, has_more, past, next_cursor, scopes })
}
