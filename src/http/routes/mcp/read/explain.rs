//! `explain_failure`: code, cause and remedy of a failed attempt, and the lines of the log before it.

use rmcp::model::JsonObject;
use serde_json::{Map, Value, json};

use super::super::answer::ToolAnswer;
use super::super::arguments::{finish, take_deployment, take_number};
use super::super::caller::ToolCaller;
use super::log::ToolLog;
use crate::domain::catalogue::render;
use crate::domain::event::StoredEvent;
use crate::domain::lang::Lang;
use crate::domain::message::message;
use crate::http::error::ApiError;
use crate::http::routes::deploy::log::LogEvent;
use crate::http::routes::deploy::result::{deployment, event_code, result_of};

/// Most lines of the log before a failure.
pub const MAX_LINES: i64 = 100;

const UNTRUSTED: &[&str] = &["cause", "lines[].message", "lines[].details"];

/// Stands for the reason in a rendered text; no text of the catalogue has it.
const MARK: &str = "\u{1}";

/// Explains the last failed attempt, or the named one.
pub async fn call(call: &ToolCaller, mut arguments: JsonObject) -> Result<ToolAnswer, ApiError> {
    let id = take_deployment(&mut arguments)?;
    let attempt = take_number(&mut arguments, "attempt", 1..=i64::from(i32::MAX), 0)?;
    let count = take_number(&mut arguments, "lines", 1..=MAX_LINES, 30)?;
    finish(&arguments, "`deploymentId`, `attempt`, `lines`")?;
    let row = deployment(&call.state, &call.caller, id.clone()).await?;
    let step = row.step.clone();
    let result = result_of(&call.state, row, Some(call.lang)).await?;
    let last = result.error_code.zip(result.error_message).map(|failure| (result.attempt, Some(step), failure));
    let past =
        result.attempts.into_iter().map(|past| (past.attempt, Some(past.step), (past.error_code, past.error_message)));
    let failed = past.chain(last).rfind(|failed| attempt == 0 || i64::from(failed.0) == attempt);
    let Some((attempt, step, (code, message))) = failed else {
        let note = message!("mcp.not_failed", status = result.status.as_str()).text(call.lang);
        return Ok(ToolAnswer::new(
            &json!({"deploymentId": id, "failed": false, "status": result.status, "explanation": note}),
            &[],
        ));
    };
    let events = call.state.db.events_of(&id, &[event_code(&code)]).await?;
    let event = events.into_iter().rfind(|event| event.attempt == attempt);
    let (cause, remedy) = event.as_ref().map_or((message.clone(), None), |event| parts(event, call.lang));
    let remedy = remedy.unwrap_or_else(|| message!("mcp.read_lines").text(call.lang));
    let mut lines = Vec::new();
    if let Some(event) = &event {
        let log = ToolLog::open(call, &id).await?;
        let page = log.page((event.seq - 1 - count).max(0), count).await?;
        lines.extend(page.into_iter().filter(|line| line.seq < event.seq).map(|line| LogEvent::new(line, call.lang)));
    }
    let data = json!({"deploymentId": id, "failed": true, "status": result.status, "attempt": attempt, "step": step, "errorCode": code,
                      "cause": cause, "remedy": remedy, "failureSeq": event.map(|event| event.seq), "lines": lines});
    Ok(ToolAnswer::new(&data, UNTRUSTED))
}

/// Cause and remedy of a failure: the catalogue's text up to the reason, which a step reported, and the text after it.
fn parts(event: &StoredEvent, lang: Lang) -> (String, Option<String>) {
    let whole = event.render(lang).message;
    let marked: Map<String, Value> = [("reason".to_owned(), Value::from(MARK))].into_iter().collect();
    let template = render(&event.code, &marked, lang).message;
    let tail = template.split_once(MARK).map_or("", |(_, tail)| tail);
    let cause = whole.strip_suffix(tail).unwrap_or(&whole).to_owned();
    let remedy = tail.trim_start_matches(['.', ' ']);
    (cause, (!remedy.is_empty()).then(|| remedy.to_owned()))
}
