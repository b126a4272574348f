//! `get_events`: a part of a deployment's log.

use rmcp::model::JsonObject;
use serde_json::json;

use super::super::answer::ToolAnswer;
use super::super::arguments::{finish, take_deployment, take_number};
use super::super::caller::ToolCaller;
use super::log::ToolLog;
use crate::http::error::ApiError;
use crate::http::routes::deploy::log::LogEvent;

/// Most events of one answer.
pub const MAX_EVENTS: i64 = 100;

/// Most matches of one search.
pub const MAX_MATCHES: i64 = 50;

/// Fields of a list of events that hold text of others.
pub const UNTRUSTED: &[&str] = &["events[].message", "events[].details"];

/// Reads the newest events, or those after a number.
pub async fn call(call: &ToolCaller, mut arguments: JsonObject) -> Result<ToolAnswer, ApiError> {
    let id = take_deployment(&mut arguments)?;
    let after = take_number(&mut arguments, "after", 0..=i64::from(i32::MAX), -1)?;
    let limit = take_number(&mut arguments, "limit", 1..=MAX_EVENTS, 50)?;
    finish(&arguments, "`deploymentId`, `after`, `limit`")?;
    let log = ToolLog::open(call, &id).await?;
    let after = if after < 0 { (log.newest - limit).max(0) } else { after };
    let events = log.page(after, limit).await?;
    let last = events.last().map_or(after, |event| event.seq);
    let next = (last < log.newest && !events.is_empty()).then(|| json!({"after": last}));
    let events: Vec<LogEvent> = events.into_iter().map(|event| LogEvent::new(event, call.lang)).collect();
    Ok(ToolAnswer::new(&json!({"deploymentId": id, "events": events, "newestSeq": log.newest}), UNTRUSTED).next(next))
}
