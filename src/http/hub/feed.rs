//! The newest events of all deployments, rendered once in each language, for all viewers of the feed. Filters are applied to each viewer.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use super::reading::Reading;
use uuid::Uuid;

use crate::db::feed::{FeedEvent, FeedPage, FeedPosition};
use crate::db::{Db, DbError};
use crate::domain::catalogue::Lang;
use crate::http::stream::ask::FeedId;
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

/// Events that were sent and are not in the table any more, each with the last one before it that is.
pub(super) type LostEvents = HashMap<Uuid, FeedPosition>;

/// What is known of the feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeedHead {
    /// Not read yet.
    Unread,
    /// Not read yet, because the database is away.
    Away,
    /// The tail can be read; the number is another one after each change.
    Here(u64),
    /// The table has another history than the one that was read, after a failover or a restore; or the process is to end.
    Over,
}

/// What follows a viewer's place.
#[derive(Debug, PartialEq, Eq)]
pub enum FeedAfter {
    /// The next event's frame, and its place.
    Frame(Bytes, FeedPosition),
    /// The next event is not kept any more: read the table up to and with this place.
    Older(FeedPosition),
    /// Nothing yet; this place is to be gone on from.
    Nothing(FeedPosition),
    /// The viewer's last event is not in this history.
    Lost,
}

#[derive(Debug)]
struct Entry {
    event: FeedEvent,
    ko: Bytes,
    en: Bytes,
}

/// All events after `from`, up to the last one that no other can come before.
#[derive(Debug, Default)]
pub struct FeedTail {
    entries: VecDeque<Entry>,
    bytes: usize,
    from: FeedPosition,
    /// Events that were put in since the start.
    pushed: u64,
}

impl FeedTail {
    /// Begins: nothing up to and with `from` is kept.
    fn start(&mut self, from: FeedPosition) {
        *self = Self { from, pushed: self.pushed + 1, ..Self::default() };
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
            self.from = oldest.event.position();
        }
    }

    /// What comes after `position` for a viewer with this filter.
    pub fn after(&self, position: &FeedPosition, filter: &Filter, lang: Lang) -> FeedAfter {
        if position.place < self.from.place {
            return FeedAfter::Older(self.from.clone());
        }
        let next = self.entries.partition_point(|entry| entry.event.place <= position.place);
        if self.before(next).is_another(position) {
            return FeedAfter::Lost;
        }
        match self.entries.range(next..).find(|entry| filter.lets_through(&entry.event)) {
            Some(entry) => {
                let frame = if lang == Lang::Ko { &entry.ko } else { &entry.en };
                FeedAfter::Frame(frame.clone(), entry.event.position())
            }
            // Never backwards: a viewer that resumes may be ahead of us.
            None if next == self.entries.len() && position.place > self.end().place => {
                FeedAfter::Nothing(position.clone())
            }
            None => FeedAfter::Nothing(self.end()),
        }
    }

    /// The event before the entry `next`.
    fn before(&self, next: usize) -> FeedPosition {
        let before = next.checked_sub(1).and_then(|at| self.entries.get(at));
        before.map_or_else(|| self.from.clone(), |entry| entry.event.position())
    }

    /// The place of a viewer that has seen everything: that of the newest event. Not that of the oldest transaction that still runs, for after a failover new
    /// events may be before that.
    pub fn end(&self) -> FeedPosition {
        self.before(self.entries.len())
    }

    /// For each event that is not among `survivors`, the last one before it that is.
    fn lost(&self, survivors: &[Uuid]) -> LostEvents {
        let (mut survivor, mut lost) = (None, LostEvents::new());
        for position in self.sent() {
            let Some(id) = position.id else { continue };
            if survivors.contains(&id) {
                survivor = Some(position);
            } else if let Some(survivor) = &survivor {
                lost.insert(id, FeedPosition::clone(survivor));
            }
        }
        lost
    }

    fn sent(&self) -> Vec<FeedPosition> {
        std::iter::once(self.from.clone()).chain(self.entries.iter().map(|entry| entry.event.position())).collect()
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
    lost: Arc<Mutex<LostEvents>>,
}

impl Feed {
    /// One that puts what a failover lost into `lost`.
    pub(super) fn new(lost: Arc<Mutex<LostEvents>>) -> Self {
        Self {
            head: watch::Sender::new(FeedHead::Unread),
            tail: Mutex::default(),
            reading: Reading::default(),
            held_back: Mutex::new(HELD_BACK.0),
            lost,
        }
    }

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
        if state.restored {
            db.mend_event_order().await?;
            state = db.feed_state().await?;
            if read_before {
                self.tell(FeedHead::Over);
                return Ok(None);
            }
        }
        if !read_before {
            let end = db.feed_end().await?;
            self.tail().start(end);
        }
        if !self.forward(db).await? {
            tracing::warn!(
                "events that were sent are not in the database any more; ending the streams of all deployments"
            );
            let sent = self.tail().sent();
            let survivors = db.feed_survivors(&sent).await?;
            let lost = self.tail().lost(&survivors);
            *self.lost.lock().unwrap_or_else(PoisonError::into_inner) = lost;
            self.tell(FeedHead::Over);
            return Ok(None);
        }
        self.tell(FeedHead::Here(self.tail().pushed));
        Ok(state.held_back)
    }

    /// Reads everything up to the horizon. False when the last event that was read is not the table's any more.
    async fn forward(&self, db: &Db) -> Result<bool, DbError> {
        loop {
            let after = self.tail().end();
            let FeedPage::Events(events) = db.feed(&after, i64::MAX, PAGE.0, PAGE.1).await? else { return Ok(false) };
            if events.is_empty() {
                return Ok(true);
            }
            // Viewers may read them at once: places before the horizon are final.
            let mut tail = self.tail();
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

    /// Where a reader resumes whose last event was `id`; none when nothing is known of it.
    pub async fn resume(&self, id: FeedId) -> Result<Option<FeedPosition>, DbError> {
        if let Some(position) = self.db.feed_place(id.transaction, id.id).await? {
            return Ok(Some(position));
        }
        let before = self.feed.lost.lock().unwrap_or_else(PoisonError::into_inner).get(&id.id).cloned();
        match before {
            Some(before) => Ok(Some(before)),
            None => self.db.feed_place_by_time(id.id).await,
        }
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
