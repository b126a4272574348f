//! Reads the events of all deployments (the *feed*). Filters are applied per subscriber.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use uuid::Uuid;

use super::broadcast::{Broadcast, ChannelState, EventLog, Subscription};
use super::buffer::BufferedLog;
use crate::db::feed::{FeedEvent, FeedPage, FeedPosition};
use crate::db::{Db, DbError};
use crate::http::sse::feed_event_id::FeedEventId;
use crate::metrics::Metrics;

/// Limits of one page from the table: events, and bytes of their parameters.
const PAGE: (i64, i64) = (256, 512 * 1024);

/// Shortest and longest delay between two reads while committed events are held back by older transactions.
const HELD_BACK_DELAY: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(250));

/// Events that were sent and are no longer in the table, each with the position of the last event before it that still is.
pub(super) type LostEvents = HashMap<Uuid, FeedPosition>;

/// The events of all deployments, in the order of the table, up to the newest event whose position in the order is final.
#[derive(Debug)]
pub struct FeedLog {
    /// Delay before the next read while events are held back.
    delay: Mutex<Duration>,
    /// Receives the events that a failover loses. It outlives the channel, because the channel ends then.
    lost: Arc<Mutex<LostEvents>>,
}

pub type FeedChannel = Broadcast<FeedLog>;

impl BufferedLog for FeedLog {
    type Position = FeedPosition;
    /// The event without its parameters, for the filters.
    type Entry = FeedEvent;
    const MAX_EVENTS: usize = 1_024;
    const MAX_BYTES: usize = 1024 * 1024;

    fn position(_: &FeedPosition, _: usize, event: &FeedEvent) -> FeedPosition {
        event.position()
    }
}

impl EventLog for FeedLog {
    /// Revision of the buffer.
    type Progress = u64;

    /// Asks for another read while committed events are held back, because an older transaction still runs.
    async fn read(channel: &Broadcast<Self>, db: &Db, metrics: &Metrics) -> Option<Duration> {
        let held_back = match channel.fetch(db).await {
            Ok(held_back) => held_back,
            Err(error) => {
                // The sweep reads again within a second, so the error only delays events.
                tracing::warn!(%error, "events of all deployments cannot be read, retrying");
                channel.publish(ChannelState::Unavailable);
                return None;
            }
        };
        metrics.streams.set_held_back(held_back.unwrap_or_default());
        let mut delay = channel.log.delay.lock();
        let now = held_back.map(|_| *delay);
        *delay = now.map_or(HELD_BACK_DELAY.0, |delay| (delay * 2).min(HELD_BACK_DELAY.1));
        now
    }
}

impl Broadcast<FeedLog> {
    /// Stores the events that a failover loses in `lost`.
    pub(super) fn with_lost(lost: Arc<Mutex<LostEvents>>) -> Self {
        Self::new(FeedLog { delay: Mutex::new(HELD_BACK_DELAY.0), lost })
    }

    /// Reads new events. Returns the time that the oldest event held back has been waiting, if there is one.
    async fn fetch(&self, db: &Db) -> Result<Option<Duration>, DbError> {
        let mut state = db.feed_state().await?;
        let read_before = matches!(self.state(), ChannelState::Live(_));
        if state.restored {
            db.repair_event_order().await?;
            state = db.feed_state().await?;
            if read_before {
                self.publish(ChannelState::Diverged);
                return Ok(None);
            }
        }
        if !read_before {
            let end = db.feed_end().await?;
            self.buffer().skip_to(end);
        }
        if !self.read_to_horizon(db).await? {
            tracing::warn!("events already sent are missing from the database, ending the streams of all deployments");
            let sent = self.buffer().sent();
            let survivors = db.feed_survivors(&sent).await?;
            let lost = self.buffer().lost(&survivors);
            *self.log.lost.lock() = lost;
            self.publish(ChannelState::Diverged);
            return Ok(None);
        }
        self.publish(ChannelState::Live(self.buffer().revision()));
        Ok(state.held_back)
    }

    /// Reads all events up to the horizon. Returns false when the table no longer contains the last event that was read.
    async fn read_to_horizon(&self, db: &Db) -> Result<bool, DbError> {
        loop {
            let after = self.buffer().last();
            let FeedPage::Events(events) = db.feed(&after, i64::MAX, PAGE.0, PAGE.1).await? else { return Ok(false) };
            if events.is_empty() {
                return Ok(true);
            }
            // Subscribers may have them immediately: positions before the horizon are final.
            let mut buffer = self.buffer();
            for event in events {
                buffer.push(event);
            }
            let revision = buffer.revision();
            drop(buffer);
            self.publish(ChannelState::Live(revision));
        }
    }
}

/// One reader of all deployments' events, with the database for those that are no longer buffered.
#[derive(Debug)]
pub struct FeedSubscription {
    db: Db,
    pub updates: Subscription<FeedLog>,
}

impl FeedSubscription {
    pub(super) fn new(db: Db, channel: Arc<FeedChannel>) -> Self {
        Self { db, updates: Subscription::new(channel) }
    }

    /// Returns the database pool for events that are not buffered.
    pub fn db(&self) -> &Db {
        &self.db
    }

    /// Finds the position from which a reader resumes whose last event was `id`. Returns `None` for an unknown event.
    pub async fn resume(&self, id: FeedEventId) -> Result<Option<FeedPosition>, DbError> {
        if let Some(position) = self.db.feed_resume_position(id.transaction, id.id).await? {
            return Ok(Some(position));
        }
        let lost = &self.updates.channel().log.lost;
        let before = lost.lock().get(&id.id).cloned();
        match before {
            Some(before) => Ok(Some(before)),
            None => self.db.feed_position_by_time(id.id).await,
        }
    }
}
