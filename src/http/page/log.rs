//! `GET /deployments/{id}/log`: the log of one deployment in the whole window, and the part of it that other views include (`log.html`): the newest
//! lines as HTML, which the script `log/view.js` replaces by the complete log.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, Utc};

use super::assets::output_prefix;
use super::context::{Page, Visitor, render};
use crate::db::events::{EventPosition, EventsAfter, StreamState};
use crate::db::{Class, DbError};
use crate::domain::catalogue::{EventCode, EventType, Lang};
use crate::domain::principal::Caller;
use crate::domain::text;
use crate::http::ApiState;
use crate::http::error::ApiError;
use crate::http::routes::deploy::not_found::not_found;
use crate::http::routes::deploy::path::DeploymentId;

/// Newest lines in the HTML. A reader without scripts finds the others in the text file.
const LINES: i64 = 500;

/// Most bytes of their parameters: some lines are long.
const BYTES: i64 = 256 * 1024;

/// Modules of the log, in the HTML so that a browser requests them together.
pub const LOG_MODULES: &[&str] = &[
    "components/log/view.js",
    "components/log/ansi.js",
    "components/log/blocks.js",
    "components/log/copy.js",
    "components/log/follow.js",
    "components/log/group.js",
    "components/log/groups.js",
    "components/log/links.js",
    "components/log/lines.js",
    "components/log/row.js",
    "components/log/search.js",
    "components/log/source.js",
    "components/log/toolbar.js",
    "client/follow.js",
];

/// The server's part of a log.
#[derive(Debug)]
pub struct LogPart {
    /// Id of the deployment.
    pub id: String,
    /// The newest events, in order.
    pub lines: Vec<LogLine>,
    /// Number of events before them.
    pub earlier: i64,
    /// Beginning of every message of build output.
    pub build_prefix: String,
}

/// One event of a log.
#[derive(Debug)]
pub struct LogLine {
    /// Number of the event within the deployment.
    pub seq: i64,
    /// Time at which the event was recorded.
    pub at: DateTime<Utc>,
    /// Text of the event, with misleading characters in a visible form.
    pub text: String,
    /// True for the failure of an attempt.
    pub is_failure: bool,
}

impl LogPart {
    /// Reads the newest lines. `newest` is the deployment's state, and the deployment is in the caller's scope.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn read(
        state: &ApiState,
        caller: &Caller,
        id: &str,
        newest: StreamState,
        lang: Lang,
    ) -> Result<Self, DbError> {
        let build_prefix = output_prefix(EventCode::BuildProgress, lang);
        let after = EventPosition { seq: (newest.last_seq - LINES).max(0), id: None };
        let _permit = state.replays.share_of(&caller.principal, caller.address).acquire().await;
        let page = state.db.of(Class::Replay).events_page(id, after, LINES, BYTES).await?;
        // Only a known id of an event can be lost.
        let EventsAfter::Events(events) = page else { return Err(DbError::corrupt("the events were replaced")) };
        let lines: Vec<LogLine> = events
            .into_iter()
            .map(|event| {
                let rendered = event.render(lang);
                let shown = rendered.message.strip_prefix(&build_prefix).unwrap_or(&rendered.message);
                let is_failure = rendered.event_type == EventType::Fail;
                LogLine { seq: event.seq, at: event.created_at, text: text::visible(shown), is_failure }
            })
            .collect();
        let earlier = lines.first().map_or(0, |line| line.seq - 1);
        Ok(Self { id: id.to_owned(), lines, earlier, build_prefix })
    }

    /// Address of the complete log as a text file.
    pub fn file(&self, page: &Page) -> String {
        page.url(&format!("/api/v1/deploy/{}/log?lang={}", self.id, page.lang.as_str()))
    }
}

#[derive(Template)]
#[template(path = "deployment_log.html")]
struct LogView {
    page: Page,
    log: LogPart,
    owner: String,
    repo: String,
    status: String,
}

/// Renders the view of one log, in the whole window.
pub async fn handle(
    State(state): State<ApiState>,
    Visitor { page, caller }: Visitor,
    DeploymentId(id): DeploymentId,
) -> Result<Response, ApiError> {
    let row = state.db.deployment_in(caller.scope(), &id).await?;
    let newest = if row.is_some() { state.db.stream_state(&id).await? } else { None };
    let (Some(row), Some(newest)) = (row, newest) else { return Err(not_found(&state, caller.scope(), id).await) };
    let log = LogPart::read(&state, &caller, &id, newest, page.lang).await?;
    render(&page.clone(), &LogView { page, log, owner: row.owner, repo: row.repo, status: row.status })
}
