//! `GET /api/v1/deploy/{id}/log`: the stored events of a deployment up to now, as lines of text or JSON.
//!
//! The response is read from the table page by page and sent as it is read, so that a log of any length takes the memory of one page. It ends with the
//! newest event at the time of the request; the event stream continues from there. A failure after the first page aborts the response, so that no
//! reader takes a part for the whole.

use std::fmt::Write as _;
use std::io;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::{Stream, stream};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::not_found::not_found;
use crate::db::events::{EventPosition, EventsAfter};
use crate::db::{Class, Db};
use crate::domain::catalogue::{EventType, Lang};
use crate::domain::event::StoredEvent;
use crate::domain::message::message;
use crate::domain::text;
use crate::http::ApiState;
use crate::http::auth::DeploymentReader;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;
use crate::http::extract::QueryParams;
use crate::http::language::{self, AskedLang};
use crate::http::middleware::caller_limit::YieldingShare;
use crate::http::routes::deploy::path::DeploymentId;
use crate::http::sse::frame::on_one_line;
use crate::http::time;

/// Most events of one page.
const PAGE_ROWS: i64 = 2_000;

/// Most bytes of event parameters of one page, unless the first event alone has more.
const PAGE_BYTES: i64 = 512 * 1024;

// ---- Request

/// Format and beginning of the log.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct LogQuery {
    /// `text`, one line `TIME MESSAGE` for each event, or `ndjson`, one JSON object for each event; `text` when absent.
    #[param(example = "ndjson")]
    pub format: Option<String>,
    /// Only events after the event with this id; all events when this deployment has no such event.
    #[param(example = "0198c0de-7a1b-7c3d-8e4f-5a6b7c8d9e0f")]
    pub after: Option<String>,
    /// `ko` or `en`; the server's setting when absent or unknown.
    #[param(example = "en")]
    pub lang: Option<String>,
    /// A ticket for this deployment, instead of the header `Authorization`; valid once.
    #[param(example = "pandat_…")]
    pub ticket: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Text,
    Ndjson,
}

impl LogQuery {
    fn format(&self) -> Result<Format, ApiError> {
        match self.format.as_deref() {
            None | Some("text") => Ok(Format::Text),
            Some("ndjson") => Ok(Format::Ndjson),
            Some(_) => Err(ApiError::field("format", message!("rule.log_format"))),
        }
    }

    fn after(&self) -> Result<Option<Uuid>, ApiError> {
        let id = self.after.as_deref().map(str::parse).transpose();
        id.map_err(|_| ApiError::field("after", message!("rule.event_id")))
    }
}

// ---- Response

/// One event, a line of the format `ndjson`.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogEvent {
    /// Number of the event within the deployment, from 1. Retention may have removed earlier ones.
    #[schema(example = 12)]
    pub seq: i64,
    /// Id of the event, as on the event stream.
    #[schema(example = "0198c0de-7a1b-7c3d-8e4f-5a6b7c8d9e0f")]
    pub id: Uuid,
    /// Time at which the event was recorded (UTC).
    #[serde(serialize_with = "time::millis")]
    pub at: DateTime<Utc>,
    /// `stage`, `success` or `fail`.
    #[serde(rename = "type")]
    #[schema(example = "stage")]
    pub kind: &'static str,
    /// Stable code of the event.
    #[schema(example = "build_progress")]
    pub code: String,
    /// Attempt that emitted the event, from 1.
    #[schema(example = 1)]
    pub attempt: i32,
    /// Text of the event.
    #[schema(example = "[Stage 1] Docker build in progress: Step 1/2 : FROM busybox:1")]
    pub message: String,
    /// Facts of a `stage`; absent for `success` and `fail`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Object)]
    pub details: Option<Map<String, Value>>,
}

impl LogEvent {
    /// Renders an event in a language.
    pub fn new(event: StoredEvent, lang: Lang) -> Self {
        let rendered = event.render(lang);
        let is_stage = rendered.event_type == EventType::Stage;
        Self {
            seq: event.seq,
            id: event.id,
            at: event.created_at,
            kind: rendered.event_type.as_str(),
            code: event.code,
            attempt: event.attempt,
            message: rendered.message,
            details: rendered.details.filter(|_| is_stage),
        }
    }

    fn write(&self, format: Format, out: &mut String) {
        match format {
            // Serialisation cannot fail: there are only strings, numbers and maps with string keys.
            Format::Ndjson => out.push_str(&on_one_line(serde_json::to_string(self).unwrap_or_default())),
            Format::Text => {
                let time = time::text(&self.at);
                // Lines of one message stay together: those after the first are indented. A terminal must not execute what a message contains.
                let message = text::visible(&self.message).replace('\n', &format!("\n{:1$}", "", time.len() + 1));
                // Writing to a `String` cannot fail.
                let _ = write!(out, "{time} {message}");
            }
        }
        out.push('\n');
    }
}

/// The rest of a log that is being sent.
struct Log {
    db: Db,
    share: YieldingShare,
    deployment_id: String,
    position: EventPosition,
    /// Sequence number of the last event to send.
    until: i64,
    lang: Lang,
    format: Format,
}

impl Log {
    /// Reads and writes the next page; none after the last.
    async fn page(&mut self) -> Result<Option<Bytes>, ApiError> {
        if self.position.seq >= self.until {
            return Ok(None);
        }
        let _permit = self.share.acquire().await;
        let limit = PAGE_ROWS.min(self.until - self.position.seq);
        let page = self.db.events_page(&self.deployment_id, self.position, limit, PAGE_BYTES).await?;
        let EventsAfter::Events(events) = page else {
            return Err(crate::http::error::server::ServerError::Internal.into());
        };
        let Some(last) = events.last() else { return Ok(None) };
        self.position = EventPosition { seq: last.seq, id: Some(last.id) };
        let mut out = String::with_capacity(events.len() * 256);
        for event in events {
            LogEvent::new(event, self.lang).write(self.format, &mut out);
        }
        Ok(Some(Bytes::from(out)))
    }

    fn rest(self, first: Option<Bytes>) -> impl Stream<Item = io::Result<Bytes>> + Send {
        stream::unfold(Some((self, first)), |state| async {
            let (mut log, first) = state?;
            if let Some(bytes) = first {
                return Some((Ok(bytes), Some((log, None))));
            }
            match log.page().await {
                Ok(None) => None,
                Ok(Some(bytes)) => Some((Ok(bytes), Some((log, None)))),
                Err(error) => {
                    let deployment = &log.deployment_id;
                    tracing::warn!(%deployment, %error, "log of a deployment aborted, its events cannot be read");
                    Some((Err(io::Error::other(error.to_string())), None))
                }
            }
        })
    }
}

// ---- Handler

/// Get a deployment's log
///
/// Returns all stored events up to the time of the request, in order, as a file: for reading (`format=text`) or for programs (`format=ndjson`). The event
/// stream continues after the last of them (`lastEventId`). A response that ends with an error is incomplete: request the rest with `after`.
#[utoipa::path(
    get, path = "/api/v1/deploy/{id}/log", tag = "deployments", operation_id = "deploymentLog",
    params(("id" = String, Path, description = "Id of the deployment.", example = "dep_4k1zq0v7w3m9x2c8b5n6"), LogQuery),
    responses(
        (status = 200, description = "The log.", content(
            (String = "text/plain", example = json!("2026-11-30T04:58:43.123Z [Stage 1] Docker build in progress: Step 1/2 : FROM busybox:1\n")),
            (LogEvent = "application/x-ndjson"),
        )),
        (status = 400, description = "Invalid parameter, named by `field`.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    DeploymentReader { caller }: DeploymentReader,
    DeploymentId(id): DeploymentId,
    QueryParams(query): QueryParams<LogQuery>,
    asked: AskedLang,
) -> Result<Response, ApiError> {
    let (format, after) = (query.format()?, query.after()?);
    let newest =
        if state.db.is_in_scope(&id, caller.scope()).await? { state.db.stream_state(&id).await? } else { None };
    let Some(newest) = newest else { return Err(not_found(&state, caller.scope(), id).await) };
    let position = match after {
        Some(event) => state.db.event_seq(&id, event).await?.map(|seq| EventPosition { seq, id: Some(event) }),
        None => None,
    };
    let lang = asked.texts().unwrap_or(state.config.language);
    let file = HeaderValue::from_str(&format!("attachment; filename=\"panda-{id}.log\""));
    let mut log = Log {
        db: state.db.of(Class::Replay),
        share: state.replays.share_of(&caller.principal, caller.address),
        deployment_id: id,
        position: position.unwrap_or_default(),
        until: newest.last_seq,
        lang,
        format,
    };
    // Read before the response begins, so that a failure has a status.
    let first = log.page().await?;
    let mut response = Response::new(Body::from_stream(log.rest(first)));
    let headers = response.headers_mut();
    let kind = match format {
        Format::Text => "text/plain; charset=utf-8",
        Format::Ndjson => "application/x-ndjson",
    };
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    if let (Format::Text, Ok(file)) = (format, file) {
        headers.insert(header::CONTENT_DISPOSITION, file);
    }
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    language::label(headers, lang);
    Ok(response)
}
