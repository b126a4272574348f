//! A viewer's course through one deployment's events. Replay, live and resume are one thing: rows after n, then wait.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use uuid::Uuid;

use super::frame;
use super::viewer::{Course, PAGE, PAGE_BYTES, RETRY, Turn};
use crate::db::DbError;
use crate::db::events::{EventPosition, EventsAfter};
use crate::domain::catalogue::Lang;
use crate::domain::event::StoredEvent;
use crate::http::hub::tail::After;
use crate::http::hub::{Head, Watch};

/// Time from the last event to the end, when no more can come.
const LINGER: Duration = Duration::from_secs(5);

/// Where a viewer goes on from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// After this event.
    After(EventPosition),
    /// After the event with this id, whose number is not known yet: the database was away.
    AfterId(Uuid),
}

/// See the module. Holds no frames but those of one page.
#[derive(Debug)]
pub struct One {
    watch: Watch,
    place: Place,
    lang: Lang,
    /// Frames from the table with their places, in order, the first of them following our place.
    page: VecDeque<(EventPosition, Bytes)>,
    /// When the stream ends, unless something comes.
    end: Option<Instant>,
    /// When to try again what failed.
    retry: Option<Instant>,
}

impl Course for One {
    async fn turn(&mut self, now: Instant) -> Turn {
        let (last_seq, active) = match self.watch.head() {
            Head::Unread | Head::Away => return Turn::Wait,
            Head::Missing | Head::Closed | Head::Over => return Turn::End,
            Head::Here { last_seq, active } => (last_seq, active),
        };
        if self.retry.is_some_and(|at| at > now) {
            return Turn::Wait;
        }
        self.retry = None;
        let result = match self.place {
            Place::AfterId(id) => self.resolve(id, last_seq, active).await,
            Place::After(position) if position.seq < last_seq => self.forward(position).await,
            // Looked up before a failover that the hub saw after it.
            Place::After(position) if self.watch.channel().tail().is_lost(position) => return Turn::End,
            Place::After(_) => return self.at_the_end(active, now),
        };
        result.unwrap_or_else(|error| {
            tracing::warn!(deployment = self.watch.deployment_id(), %error, "a viewer cannot read events now");
            self.try_later()
        })
    }

    async fn changed(&mut self) {
        self.watch.changed().await;
    }

    fn timer(&self) -> Option<Instant> {
        [self.end, self.retry].into_iter().flatten().min()
    }
}

impl One {
    /// A viewer at `place`.
    pub fn new(watch: Watch, place: Place, lang: Lang) -> Self {
        Self { watch, place, lang, page: VecDeque::new(), end: None, retry: None }
    }

    fn try_later(&mut self) -> Turn {
        self.retry = Some(Instant::now() + RETRY);
        Turn::Wait
    }

    /// Finds the place of an id, now that the database is back.
    async fn resolve(&mut self, id: Uuid, last_seq: i64, active: bool) -> Result<Turn, DbError> {
        // Boxed, here and below: a future's size is reserved in every stream, and most never come here.
        let seq = Box::pin(self.watch.replays().event_seq(self.watch.deployment_id(), id)).await?;
        let position = seq.map_or_else(EventPosition::default, |seq| EventPosition { seq, id: Some(id) });
        self.place = Place::After(position);
        if position.seq > 0 && position.seq >= last_seq && !active {
            // Too late for a 204: the reader gets it when it comes back.
            return Ok(Turn::End);
        }
        self.forward(position).await
    }

    /// The next frame after an event. Numbers may be missing: of a finished deployment, retention removes events.
    async fn forward(&mut self, position: EventPosition) -> Result<Turn, DbError> {
        self.end = None;
        if self.page.is_empty() {
            let after = self.watch.channel().tail().after(position, self.lang);
            match after {
                After::Frame(frame, position) => self.page.push_back((position, frame)),
                After::Older { until } => match self.read_page(position, until).await? {
                    Some(page) => self.page = page,
                    None => return Ok(Turn::End),
                },
                After::Nothing => {}
                After::Lost => return Ok(Turn::End),
            }
        }
        // Nothing, though it was counted: the head is ahead of the tail for a moment, or the deployment was deleted, and it will say so.
        let Some((position, frame)) = self.page.pop_front() else { return Ok(self.try_later()) };
        self.place = Place::After(position);
        Ok(Turn::Send(frame))
    }

    /// The frames after an event from the table; none when that event is not the table's any more.
    async fn read_page(
        &self,
        after: EventPosition,
        until: i64,
    ) -> Result<Option<VecDeque<(EventPosition, Bytes)>>, DbError> {
        let limit = PAGE.min(until - after.seq);
        let events = self.watch.replays().events_page(self.watch.deployment_id(), after, limit, PAGE_BYTES);
        let EventsAfter::Events(events) = Box::pin(events).await? else { return Ok(None) };
        let framed = |event: &StoredEvent| {
            (EventPosition { seq: event.seq, id: Some(event.id) }, frame::encode(event, self.lang))
        };
        Ok(Some(events.iter().map(framed).collect()))
    }

    /// Everything was sent: wait for more, or for the end.
    fn at_the_end(&mut self, active: bool, now: Instant) -> Turn {
        if active {
            self.end = None;
            return Turn::Wait;
        }
        if *self.end.get_or_insert(now + LINGER) <= now { Turn::End } else { Turn::Wait }
    }
}
