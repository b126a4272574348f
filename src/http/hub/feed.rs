//! The newest events of all deployments, rendered once in each language, for all viewers of the feed. Filters are applied to each viewer.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use super::reading::Reading;
use crate::db::feed::{FeedEvent, Place};
use crate::db::{Db, DbError};
use crate::domain::catalogue::Lang;
use crate::http::stream::filter::Filter;
use crate::http::stream::frame;
use crate::metrics::Metrics;

/// Most events that are kept.
pub const MAX_EVENTS: usize = 1_024;

/// Most bytes of frames that are kept.
pub const MAX_BYTES: usize = 1024 * 1024;

/// Events, and bytes of their parameters, of one reading of the table.
const PAGE: (i64, i64) = (256, 512 * 1024);

/// First and longest time between two readings while committed events wait for older transactions.
const HELD_BACK: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(250));

/// What is known of the feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeedHead {
    /// Not read yet.
    Unread,
    /// Not read yet, because the database is away.
    Away,
    /// The tail can be read; the number is another one after each change.
    Here(u64),
    /// The order of events began anew under it, for the database was restored from another time or place and places mean something else
    /// now; or the process is to end.
    Over,
}

/// What follows a viewer's place.
#[derive(Debug, PartialEq, Eq)]
pub enum FeedAfter {
    /// The next event's frame, and its place.
    Frame(Bytes, Place),
    /// The next event is not kept any more: read the table up to and with this place.
    Older(Place),
    /// Nothing before this place, which is to be gone on from.
    Nothing(Place),
}

#[derive(Debug)]
struct Entry {
    event: FeedEvent,
    ko: Bytes,
    en: Bytes,
}

/// All events after `from` and before the transaction `horizon`.
#[derive(Debug, Default)]
pub struct FeedTail {
    entries: VecDeque<Entry>,
    bytes: usize,
    from: Place,
    horizon: i64,
    /// Events that were put in since the start.
    pushed: u64,
}

impl FeedTail {
    /// Begins: nothing before `horizon` is kept.
    fn start(&mut self, horizon: i64) {
        *self = Self { from: Place::before(horizon), horizon, pushed: self.pushed + 1, ..Self::default() };
    }

    /// The place after which the next event is to be read.
    fn last(&self) -> Place {
        let newest = self.entries.back().map_or(&self.from, |entry| &entry.event.place);
        self.end().max(newest.clone())
    }

    fn push(&mut self, mut event: FeedEvent) {
        let encode = |lang| frame::encode_of_all(&event, lang);
        let (ko, en) = (encode(Lang::Ko), encode(Lang::En));
        // The frames have it all.
        event.event.params = serde_json::Map::new();
        self.bytes += ko.len() + en.len();
        self.pushed += 1;
        self.entries.push_back(Entry { event, ko, en });
        while self.entries.len() > MAX_EVENTS || self.bytes > MAX_BYTES {
            let Some(oldest) = self.entries.pop_front() else { break };
            self.bytes -= oldest.ko.len() + oldest.en.len();
            self.from = oldest.event.place;
        }
    }

    /// What comes after `place` for a viewer with this filter.
    pub fn after(&self, place: &Place, filter: &Filter, lang: Lang) -> FeedAfter {
        if *place < self.from {
            return FeedAfter::Older(self.from.clone());
        }
        let next = self.entries.partition_point(|entry| entry.event.place <= *place);
        match self.entries.range(next..).find(|entry| filter.lets_through(&entry.event)) {
            Some(entry) => {
                let frame = if lang == Lang::Ko { &entry.ko } else { &entry.en };
                FeedAfter::Frame(frame.clone(), entry.event.place.clone())
            }
            // Never backwards: a viewer may be in the middle of a transaction that is being read.
            None => FeedAfter::Nothing(self.end().max(place.clone())),
        }
    }

    /// The place of a viewer that has seen everything.
    pub fn end(&self) -> Place {
        Place::before(self.horizon)
    }
}

/// See the module.
#[derive(Debug)]
pub struct Feed {
    head: watch::Sender<FeedHead>,
    tail: Mutex<FeedTail>,
    pub(super) reading: Reading,
    /// The next wait for older transactions.
    held_back: Mutex<Duration>,
}

impl Default for Feed {
    fn default() -> Self {
        Self {
            head: watch::Sender::new(FeedHead::Unread),
            tail: Mutex::default(),
            reading: Reading::default(),
            held_back: Mutex::new(HELD_BACK.0),
        }
    }
}

impl Feed {
    /// Its newest events.
    pub fn tail(&self) -> MutexGuard<'_, FeedTail> {
        // A tail is consistent after each of its methods, so a panic elsewhere under the lock does no harm.
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The process is to end.
    pub(super) fn close(&self) {
        self.tell(FeedHead::Over);
    }

    pub(super) fn is_over(&self) -> bool {
        *self.head.borrow() == FeedHead::Over
    }

    pub(super) fn is_watched(&self) -> bool {
        self.head.receiver_count() > 0
    }

    /// Fetches what is new and tells the viewers. Only one at a time. How long to wait for the next reading, when there are committed
    /// events that cannot be read yet.
    pub(super) async fn read(&self, db: &Db, metrics: &Metrics) -> Option<Duration> {
        let held_back = match self.fetch(db).await {
            Ok(held_back) => held_back,
            Err(error) => {
                // The sweep asks again in a second: nothing is lost but time.
                tracing::warn!(%error, "the events of all deployments cannot be read now");
                self.tell(FeedHead::Away);
                return None;
            }
        };
        metrics.streams.set_held_back(held_back.unwrap_or_default());
        let mut wait = self.held_back.lock().unwrap_or_else(PoisonError::into_inner);
        let now = held_back.map(|_| *wait);
        *wait = now.map_or(HELD_BACK.0, |wait| (wait * 2).min(HELD_BACK.1));
        now
    }

    async fn fetch(&self, db: &Db) -> Result<Option<Duration>, DbError> {
        let mut state = db.feed_state().await?;
        let read_before = matches!(*self.head.borrow(), FeedHead::Here(_));
        let restored = state.restored;
        if restored {
            db.mend_event_order().await?;
            state = db.feed_state().await?;
        }
        let (after, begun) = {
            let mut tail = self.tail();
            if !read_before {
                tail.start(state.horizon);
            } else if restored || state.horizon < tail.horizon {
                drop(tail);
                self.tell(FeedHead::Over);
                return Ok(None);
            }
            (tail.last(), tail.horizon)
        };
        if state.newest >= begun {
            self.forward(db, after, state.horizon).await?;
        }
        let pushed = {
            let mut tail = self.tail();
            tail.horizon = state.horizon;
            tail.pushed
        };
        self.tell(FeedHead::Here(pushed));
        Ok(state.held_back)
    }

    /// Reads everything between `after` and `horizon`.
    async fn forward(&self, db: &Db, mut after: Place, horizon: i64) -> Result<(), DbError> {
        loop {
            let events = db.feed(&after, horizon, PAGE.0, PAGE.1).await?;
            let Some(last) = events.last() else { return Ok(()) };
            after = last.place.clone();
            let mut tail = self.tail();
            // Viewers may read them at once: places before the horizon are final.
            tail.horizon = tail.horizon.max(after.transaction);
            for event in events {
                tail.push(event);
            }
            let pushed = tail.pushed;
            drop(tail);
            self.tell(FeedHead::Here(pushed));
        }
    }

    fn tell(&self, new: FeedHead) {
        self.head.send_if_modified(|head| {
            // A database that goes away later is no news.
            let news = *head != new && *head != FeedHead::Over && (new != FeedHead::Away || *head == FeedHead::Unread);
            if news {
                *head = new;
            }
            news
        });
    }
}

/// A viewer's place at the feed.
#[derive(Debug)]
pub struct FeedWatch {
    db: Db,
    feed: Arc<Feed>,
    head: watch::Receiver<FeedHead>,
}

impl FeedWatch {
    pub(super) fn new(db: Db, feed: Arc<Feed>) -> Self {
        let head = feed.head.subscribe();
        Self { db, feed, head }
    }

    /// The database, for what the feed does not keep.
    pub fn db(&self) -> &Db {
        &self.db
    }

    /// The newest events.
    pub fn feed(&self) -> &Feed {
        &self.feed
    }

    /// What is known now; [`Self::changed`] waits for something else.
    pub fn head(&mut self) -> FeedHead {
        *self.head.borrow_and_update()
    }

    /// Waits until [`Self::head`] has news.
    pub async fn changed(&mut self) {
        if self.head.changed().await.is_err() {
            // The sender lives as long as we do: this is never reached, and must not be a busy loop if it were.
            std::future::pending::<()>().await;
        }
    }

    /// What is known, once anything is.
    pub async fn first_look(&mut self) -> FeedHead {
        loop {
            match self.head() {
                FeedHead::Unread => self.changed().await,
                head => return head,
            }
        }
    }
}
