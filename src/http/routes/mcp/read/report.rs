//! `report`: a part of a report's rows, as `GET /api/v1/reports/{name}`.

use axum::extract::Path;
use rmcp::model::JsonObject;
use serde_json::json;

use super::super::answer::ToolAnswer;
use super::super::arguments::{read_query, take_number, take_text};
use super::super::caller::ToolCaller;
use crate::domain::message::message;
use crate::http::error::ApiError;
use crate::http::extract::QueryParams;
use crate::http::routes::reports::answer::{ReportQuery, ReportResponse, handle};

/// Most rows of one answer.
pub const MAX_ROWS: i64 = 500;

/// Runs a report, and returns a part of its rows.
pub async fn call(call: &ToolCaller, mut arguments: JsonObject) -> Result<ToolAnswer, ApiError> {
    let name = take_text(&mut arguments, "name")?.ok_or_else(|| ApiError::field("name", message!("rule.missing")))?;
    let offset = take_number(&mut arguments, "offset", 0..=i64::from(i32::MAX), 0)?;
    let limit = take_number(&mut arguments, "limit", 1..=MAX_ROWS, 100)?;
    let query: ReportQuery = read_query(arguments)?;
    // The endpoint's other format is a file.
    if query.format.as_deref().is_some_and(|format| format != "json") {
        return Err(ApiError::field("format", message!("rule.expected", expected = "`json`")));
    }
    let answer = handle(call.state(), call.role()?, Path(name), QueryParams(query)).await?;
    let ReportResponse::Json(envelope) = answer else {
        return Err(ApiError::field("format", message!("rule.report_format")));
    };
    let mut report = envelope.data;
    let whole = report.rows.len();
    let (offset, limit) = (usize::try_from(offset).unwrap_or(usize::MAX), usize::try_from(limit).unwrap_or(usize::MAX));
    report.rows = report.rows.into_iter().skip(offset).take(limit).collect();
    let read = offset.saturating_add(report.rows.len());
    let next = (read < whole).then(|| json!({"offset": read}));
    Ok(ToolAnswer::new(&report, &["rows"]).next(next))
}
