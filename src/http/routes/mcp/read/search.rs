//! `search_log`: the events of a deployment whose text contains a text.

use rmcp::model::JsonObject;
use serde_json::json;

use super::super::answer::ToolAnswer;
use super::super::arguments::{finish, take_deployment, take_number, take_text};
use super::super::caller::ToolCaller;
use super::events::{MAX_MATCHES, UNTRUSTED};
use super::log::ToolLog;
use crate::domain::message::message;
use crate::http::error::ApiError;
use crate::http::routes::deploy::log::LogEvent;

/// Events that are read at a time.
const PAGE_ROWS: i64 = 2_000;

/// Most events that one call searches, so that it ends within a second; the next call continues.
const MAX_SEARCHED: i64 = 20_000;

/// Longest text to find, in characters.
const MAX_NEEDLE: usize = 200;

/// Searches the log after a number.
pub async fn call(call: &ToolCaller, mut arguments: JsonObject) -> Result<ToolAnswer, ApiError> {
    let id = take_deployment(&mut arguments)?;
    let text = take_text(&mut arguments, "text")?.ok_or_else(|| ApiError::field("text", message!("rule.missing")))?;
    let after = take_number(&mut arguments, "after", 0..=i64::from(i32::MAX), 0)?;
    let limit = take_number(&mut arguments, "limit", 1..=MAX_MATCHES, 20)?;
    finish(&arguments, "`deploymentId`, `text`, `after`, `limit`")?;
    if !(1..=MAX_NEEDLE).contains(&text.chars().count()) {
        return Err(ApiError::field("text", message!("rule.search_text", max = MAX_NEEDLE)));
    }
    let log = ToolLog::open(call, &id).await?;
    let needle = text.to_lowercase();
    let (mut matches, mut last) = (Vec::new(), after);
    let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
    'search: while last < log.newest && last - after < MAX_SEARCHED {
        let page = log.page(last, PAGE_ROWS).await?;
        if page.is_empty() {
            last = log.newest;
        }
        for event in page {
            last = event.seq;
            let event = LogEvent::new(event, call.lang);
            if event.message.to_lowercase().contains(&needle) {
                matches.push(event);
                if matches.len() == wanted {
                    break 'search;
                }
            }
        }
    }
    let next = (last < log.newest).then(|| json!({"after": last}));
    let data = json!({"deploymentId": id, "events": matches, "searchedTo": last, "newestSeq": log.newest});
    Ok(ToolAnswer::new(&data, UNTRUSTED).next(next))
}
