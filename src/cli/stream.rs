//! Follows a deployment's events, across restarts of the server and network failures.
//!
//! Clients resume a broken stream with the id of the last event; the server then sends only later events. A stream ends for good when the
//! deployment awaits approval or is finished: the server answers 204 to a client that has all events, and the deployment's result has
//! their number.

use std::cell::Cell;
use std::pin::pin;
use std::time::{Duration, Instant};

use bytes::Bytes;
use eventsource_stream::Eventsource as _;
use futures_util::StreamExt as _;
use serde_json::Value;

use super::api::Api;
use super::error::CliError;
use super::types::ResultSummary;
use crate::bounded::BodyChunks;
use crate::domain::deployment::Status;
use crate::domain::message::Message;

/// First delay before reconnecting; doubled each time, up to [`MAX_RECONNECT_DELAY`].
const FIRST_RECONNECT_DELAY: Duration = Duration::from_millis(250);
const MAX_RECONNECT_DELAY: Duration = Duration::from_secs(5);
/// Largest event, including the keep-alives before it: far more than any event has.
const MAX_EVENT_BYTES: usize = 8 << 20;

/// Event as received by `panda watch` and the commands that wait for an end, not yet interpreted.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamEvent {
    /// Id with which the stream resumes after it.
    pub id: String,
    /// `stage`, `success` or `fail`.
    pub name: String,
    /// Parsed JSON of the event.
    pub data: Value,
}

impl StreamEvent {
    /// The message; empty without one.
    pub fn message(&self) -> &str {
        self.data.get("message").and_then(Value::as_str).unwrap_or_default()
    }
}

/// Displays events and the state of the connection.
pub trait EventDisplay {
    fn event(&mut self, event: &StreamEvent);
    /// Reports that the connection broke (`Some`, with the reason) or was restored (`None`).
    fn connection(&mut self, broken: Option<&str>);
    /// Displays what was held back until the deployment's end, because the end is not known.
    fn release(&mut self) {}
}

#[derive(Clone, Debug)]
pub struct Follow<'a> {
    /// Id of the deployment.
    pub id: &'a str,
    /// Language of the messages, `ko` or `en`.
    pub lang: &'a str,
    /// True to continue at `DEPLOYMENT_READY`, because a switch was requested.
    pub through_switch: bool,
    /// Number of events to skip, because they were displayed before.
    pub skip: u64,
    /// Time to retry while the server is unreachable.
    pub give_up_after: Duration,
}

/// Displays every event until no more will follow, then returns the deployment's result.
///
/// Fails immediately if the first connection fails: the address may be wrong.
pub async fn follow(
    api: &Api,
    follow: &Follow<'_>,
    display: &mut dyn EventDisplay,
) -> Result<(ResultSummary, Value), CliError> {
    let mut seen = Seen::default();
    let mut broken_since: Option<Instant> = None;
    let mut pause = FIRST_RECONNECT_DELAY;
    let mut connected_once = false;
    loop {
        let before = seen.count;
        let error = match run_once(api, follow, display, &mut seen, &mut connected_once, broken_since.is_some()).await {
            Ok(Some(outcome)) => return Ok(outcome),
            Ok(None) => None,
            Err(error) if !connected_once || !worth_retrying(&error) => return Err(error),
            Err(error) => Some(error),
        };
        if seen.count > before {
            pause = FIRST_RECONNECT_DELAY;
        }
        if let Some(error) = error {
            let since = *broken_since.get_or_insert_with(Instant::now);
            if since.elapsed() >= follow.give_up_after {
                return Err(error);
            }
            display.connection(Some(&error.to_string()));
        } else {
            broken_since = None;
        }
        tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
        pause = (pause * 2).min(MAX_RECONNECT_DELAY);
    }
}

#[derive(Debug, Default)]
struct Seen {
    last_id: Option<String>,
    count: u64,
}

/// Reads one connection to its end. Returns `None` when more events may follow.
async fn run_once(
    api: &Api,
    follow: &Follow<'_>,
    display: &mut dyn EventDisplay,
    seen: &mut Seen,
    connected_once: &mut bool,
    was_broken: bool,
) -> Result<Option<(ResultSummary, Value)>, CliError> {
    let answer = api.events(follow.id, follow.lang, seen.last_id.as_deref()).await?;
    *connected_once = true;
    if was_broken {
        display.connection(None);
    }
    let Some(answer) = answer else { return ended(api, follow, None).await };
    // Bytes since the last complete event: an endless one must not exhaust the memory.
    let pending = Cell::new(0_usize);
    let pieces = futures_util::stream::unfold(BodyChunks::of(answer), async |mut pieces| {
        let piece = pieces.next(MAX_EVENT_BYTES - pending.get().min(MAX_EVENT_BYTES)).await.transpose()?;
        pending.set(pending.get().saturating_add(piece.as_ref().map_or(0, Bytes::len)));
        Some((piece, pieces))
    });
    let mut events = pin!(pieces.eventsource());
    while let Some(event) = events.next().await {
        let event = event.map_err(|error| api.unreachable(&error))?;
        pending.set(0);
        let data = serde_json::from_str(&event.data)
            .map_err(|error| api.protocol(Message::verbatim(super::sanitize::line(&error.to_string()))))?;
        let event = StreamEvent { id: event.id, name: event.event, data };
        seen.count += 1;
        seen.last_id = Some(event.id.clone());
        if seen.count > follow.skip {
            display.event(&event);
        }
        // Check now: waiting for the server to end the stream would take five seconds each time.
        if event.name != "stage"
            && let Some(outcome) = ended(api, follow, Some(seen.count)).await?
        {
            return Ok(Some(outcome));
        }
    }
    Ok(None)
}

/// The result, if no more events will follow. `seen` is the number of events received, if known.
async fn ended(api: &Api, follow: &Follow<'_>, seen: Option<u64>) -> Result<Option<(ResultSummary, Value)>, CliError> {
    let data = api.result(follow.id).await?;
    let outcome: ResultSummary = api.read(&data)?;
    let waits = match outcome.status {
        Status::Running => true,
        Status::DeploymentReady => follow.through_switch && seen.is_some(),
        // The stream of a rollback at AWS shows the deployment's earlier end first.
        Status::Completed => outcome.rollback_requested_at.is_some(),
        Status::Failed => false,
    };
    // A replay passes earlier successes (ready, before completed): more events follow then.
    let all_seen = seen.is_none_or(|seen| seen >= outcome.event_count);
    Ok((!waits && all_seen).then_some((outcome, data)))
}

/// True for errors that may disappear while a server restarts.
fn worth_retrying(error: &CliError) -> bool {
    match error {
        // A proxy answers with its own error pages while the server behind it is replaced.
        CliError::Unreachable { .. } | CliError::Protocol { .. } => true,
        CliError::Refused(problem) => matches!(problem.status, 429 | 500 | 502..=504),
        _ => false,
    }
}
