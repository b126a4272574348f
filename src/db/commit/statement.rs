//! The commit statement: rows of different deployments, each fenced by the version that was read.

use std::collections::HashMap;

use serde_json::{Value, json};
use sqlx::types::Json;

use super::columns::{always, column, event_column};
use super::{Change, HistoryPiece, Row};
use crate::db::pool::Pool;
use crate::domain::deployment::Status;

/// Commits `rows`, at most one for each deployment. Returns the rows that matched: the id, and the number of new events.
///
/// The statement commits every row that matched, or on an error none. It locks rows in the order of their ids under any plan, so that two such
/// statements cannot deadlock.
pub(super) async fn commit(pool: &Pool, rows: &[Row]) -> Result<HashMap<String, i64>, sqlx::Error> {
    let matched = sqlx::query_file!(
        "src/db/commit/statement.sql",
        &always(rows, |row| row.id.as_str()) as _,
        &always(rows, |row| row.replica),
        &always(rows, |row| row.version),
        &always(rows, |row| row.attempt),
        &column(rows, |row| row.change.step.as_ref().map(|(name, _)| name.as_str())) as _,
        &column(rows, |row| state(&row.change).map(Json)) as _,
        &column(rows, |row| row.change.status.map(Status::as_str)) as _,
        &column(rows, |row| row
            .change
            .error
            .as_ref()
            .map(|(code, message)| Json(json!({"code": code, "message": message})))) as _,
        &column(rows, |row| row
            .change
            .waiting_for
            .as_ref()
            .map(|reason| Json(json!({"text": reason.to_string(), "form": reason.to_json()})))) as _,
        &always(rows, |row| row.change.release),
        &column(rows, |row| row.change.run_outcome()) as _,
        &column(rows, |row| row
            .change
            .trouble
            .as_ref()
            .map(|(code, reason)| Json(json!({"code": code, "reason": reason})))) as _,
        &always(rows, |row| i32::try_from(row.change.tries.max(1)).unwrap_or(i32::MAX)),
        &column(rows, |row| Some(&row.change.facts).filter(|facts| !facts.is_empty()).map(Json)) as _,
        &always(rows, |row| row.change.facts.is_beyond_infra()),
        &column(rows, |row| row.change.watched) as _,
        &column(rows, |row| row.change.history.as_ref().map(history).map(Json)) as _,
        &event_column(rows, |row, _| row.id.as_str()) as _,
        &event_column(rows, |_, event| event.id),
        &event_column(rows, |_, event| event.key.as_str()) as _,
        &event_column(rows, |_, event| event.code) as _,
        &event_column(rows, |_, event| event.event_type) as _,
        &event_column(rows, |_, event| event.stage) as _,
        &event_column(rows, |_, event| event.message.as_str()) as _,
        &event_column(rows, |_, event| event.details.as_ref().map(Json)) as _,
        &event_column(rows, |_, event| Json(&event.params)) as _,
    )
    .fetch_all(pool)
    .await?;
    Ok(matched.into_iter().map(|row| (row.id, row.events)).collect())
}

/// Returns the columns of a piece of the execution's history. Its events are a text in it: `jsonb` would change them.
fn history(piece: &HistoryPiece) -> Value {
    // Plain structs of strings and numbers always serialise.
    let events = serde_json::to_string(&piece.events).unwrap_or_else(|_| "[]".to_owned());
    json!({
        "execution_arn": piece.execution_arn,
        "first_event_id": piece.events.first().map(|event| event.id),
        "last_event_id": piece.events.last().map(|event| event.id),
        "events": events,
    })
}

/// Returns the step's state after `change`; none when the state does not change.
fn state(change: &Change) -> Option<&Value> {
    change.step.as_ref().map(|(_, state)| state).or(change.step_state.as_ref())
}
