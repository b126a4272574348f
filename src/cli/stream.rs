//! Following a deployment's events, through restarts of the server and breaks of the network.
//!
//! The server numbers nothing that a client could count on but the events' ids: a broken stream is resumed with the last id, and the
//! server sends what came after it, nothing twice. A stream ends for good when the deployment needs a person or is finished: the
//! server answers 204 to a client that has everything, and says how many events there are in the deployment's result.

use std::cell::Cell;
use std::pin::pin;
use std::time::{Duration, Instant};

use bytes::Bytes;
use eventsource_stream::Eventsource as _;
use futures_util::StreamExt as _;
use serde_json::Value;

use super::api::Api;
use super::error::CliError;
use super::types::Outcome;
use crate::bounded::Pieces;
use crate::domain::deployment::Status;

/// The first wait before reconnecting; doubled each time, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Far more than an event has; signs of life between two events count as well.
const MAX_EVENT_BYTES: usize = 8 << 20;

/// One event as it came.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamEvent {
    /// Its id.
    pub id: String,
    /// `stage`, `success` or `fail`.
    pub name: String,
    /// Its data.
    pub data: Value,
}

impl StreamEvent {
    /// The message; empty when there is none.
    pub fn message(&self) -> &str {
        self.data.get("message").and_then(Value::as_str).unwrap_or_default()
    }
}

/// What is done with what comes.
pub trait Viewer {
    /// An event came.
    fn event(&mut self, event: &StreamEvent);
    /// The connection broke (`Some`, with the reason) or is back (`None`).
    fn connection(&mut self, broken: Option<&str>);
}

/// What to follow.
#[derive(Clone, Debug)]
pub struct Follow<'a> {
    /// The deployment.
    pub id: &'a str,
    /// `ko` or `en`.
    pub lang: &'a str,
    /// Whether to go on at `DEPLOYMENT_READY`, since a switch was asked for.
    pub through_switch: bool,
    /// Events that were seen before and are not shown again.
    pub skip: u64,
    /// How long to try again when the server is away.
    pub give_up_after: Duration,
}

/// Shows every event until nothing more comes, and returns the deployment's result then.
///
/// A server that cannot be reached at the very start is an error at once: the address may be wrong.
pub async fn follow(api: &Api, follow: &Follow<'_>, viewer: &mut dyn Viewer) -> Result<(Outcome, Value), CliError> {
    let mut seen = Seen::default();
    let mut broken_since: Option<Instant> = None;
    let mut pause = FIRST_PAUSE;
    let mut connected_once = false;
    loop {
        let before = seen.count;
        let error = match run_once(api, follow, viewer, &mut seen, &mut connected_once, broken_since.is_some()).await {
            Ok(Some(outcome)) => return Ok(outcome),
            Ok(None) => None,
            Err(error) if !connected_once || !worth_retrying(&error) => return Err(error),
            Err(error) => Some(error),
        };
        if seen.count > before {
            pause = FIRST_PAUSE;
        }
        if let Some(error) = error {
            let since = *broken_since.get_or_insert_with(Instant::now);
            if since.elapsed() >= follow.give_up_after {
                return Err(error);
            }
            viewer.connection(Some(&error.to_string()));
        } else {
            broken_since = None;
        }
        tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

#[derive(Debug, Default)]
struct Seen {
    last_id: Option<String>,
    count: u64,
}

/// One connection. `None`: it ended, and there may be more.
async fn run_once(
    api: &Api,
    follow: &Follow<'_>,
    viewer: &mut dyn Viewer,
    seen: &mut Seen,
    connected_once: &mut bool,
    was_broken: bool,
) -> Result<Option<(Outcome, Value)>, CliError> {
    let answer = api.events(follow.id, follow.lang, seen.last_id.as_deref()).await?;
    *connected_once = true;
    if was_broken {
        viewer.connection(None);
    }
    let Some(answer) = answer else { return ended(api, follow, None).await };
    // Bytes since the last whole event: one that never ends must not fill the memory.
    let pending = Cell::new(0_usize);
    let pieces = futures_util::stream::unfold(Pieces::of(answer), async |mut pieces| {
        let piece = pieces.next(MAX_EVENT_BYTES - pending.get().min(MAX_EVENT_BYTES)).await.transpose()?;
        pending.set(pending.get().saturating_add(piece.as_ref().map_or(0, Bytes::len)));
        Some((piece, pieces))
    });
    let mut events = pin!(pieces.eventsource());
    while let Some(event) = events.next().await {
        let event = event.map_err(|error| api.unreachable(&error))?;
        pending.set(0);
        let data = serde_json::from_str(&event.data).map_err(|error| api.protocol(&error.to_string()))?;
        let event = StreamEvent { id: event.id, name: event.event, data };
        seen.count += 1;
        seen.last_id = Some(event.id.clone());
        if seen.count > follow.skip {
            viewer.event(&event);
        }
        // Waiting for the server to end the stream would cost five seconds each time.
        if event.name != "stage"
            && let Some(outcome) = ended(api, follow, Some(seen.count)).await?
        {
            return Ok(Some(outcome));
        }
    }
    Ok(None)
}

/// The result, if nothing more comes; `seen` is how many events there were, where that is known.
async fn ended(api: &Api, follow: &Follow<'_>, seen: Option<u64>) -> Result<Option<(Outcome, Value)>, CliError> {
    let data = api.result(follow.id).await?;
    let outcome: Outcome = api.read(&data)?;
    let waits = match outcome.status {
        Status::Running => true,
        Status::DeploymentReady => follow.through_switch && seen.is_some(),
        Status::Completed | Status::Failed => false,
    };
    // A replay passes through earlier successes (ready, before completed): there is more to read then.
    let all_seen = seen.is_none_or(|seen| seen >= outcome.event_count);
    Ok((!waits && all_seen).then_some((outcome, data)))
}

/// Whether a server that is restarted would answer otherwise.
fn worth_retrying(error: &CliError) -> bool {
    match error {
        // A proxy in front of a server that is being replaced answers with pages of its own.
        CliError::Unreachable { .. } | CliError::Protocol { .. } => true,
        CliError::Refused(problem) => matches!(problem.status, 429 | 500 | 502..=504),
        _ => false,
    }
}
