//! Distributes the events of an [`EventLog`] to its subscribers. There are two kinds of logs: the events of one deployment, and the events of all
//! deployments (the *feed*).
//!
//! A [`Broadcast`] has a state that subscribers wait for, and a buffer of encoded events that they read. The state is published after the buffer was
//! filled.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;

use super::buffer::{Buffer, BufferedLog};
use super::coalescer::Coalescer;
use crate::db::Db;
use crate::metrics::Metrics;

/// A sequence of events in the database.
pub trait EventLog: BufferedLog {
    /// The published progress of the log. Subscribers wake when it changes.
    type Progress: Copy + Debug + PartialEq + Send + Sync;

    /// Reads new events into the buffer and publishes the new state. The caller must ensure that only one read of a log runs at a time. Returns a
    /// delay if another read is needed after it.
    fn read(channel: &Broadcast<Self>, db: &Db, metrics: &Metrics) -> impl Future<Output = Option<Duration>> + Send;
}

/// State of a log, as far as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelState<P> {
    /// The first read has not finished.
    Unread,
    /// The first read failed, because the database is unavailable.
    Unavailable,
    /// The log does not exist: there is no such deployment.
    Missing,
    /// The process is shutting down: streams close, and their readers reconnect to another replica.
    Closed,
    /// The table's history differs from the one already sent: a failover lost events, or a backup was restored. Streams end, and their readers name
    /// their last event when they reconnect.
    Diverged,
    /// Every event up to this progress is in the buffer or in the table.
    Live(P),
}

/// Distributes the events of a log to its subscribers.
#[derive(Debug)]
pub struct Broadcast<L: EventLog> {
    pub(super) log: L,
    state: watch::Sender<ChannelState<L::Progress>>,
    buffer: Mutex<Buffer<L>>,
    pub(super) reads: Coalescer,
}

impl<L: EventLog> Broadcast<L> {
    pub(super) fn new(log: L) -> Self {
        let state = watch::Sender::new(ChannelState::Unread);
        Self { log, state, buffer: Mutex::default(), reads: Coalescer::default() }
    }

    pub fn buffer(&self) -> MutexGuard<'_, Buffer<L>> {
        // A buffer is consistent after each of its methods, so a panic elsewhere under the lock does no harm.
        self.buffer.lock()
    }

    pub(super) fn state(&self) -> ChannelState<L::Progress> {
        *self.state.borrow()
    }

    /// Returns true when no more events are sent: new ones would not continue the ones already sent, or the process is shutting down.
    pub(super) fn is_ended(&self) -> bool {
        matches!(self.state(), ChannelState::Closed | ChannelState::Diverged)
    }

    /// Returns true when a new subscriber needs a new channel.
    pub(super) fn is_diverged(&self) -> bool {
        matches!(self.state(), ChannelState::Diverged)
    }

    pub(super) fn has_subscribers(&self) -> bool {
        self.state.receiver_count() > 0
    }

    /// Ends all streams, because the process is shutting down.
    pub(super) fn close(&self) {
        self.publish(ChannelState::Closed);
    }

    /// Publishes a state, unless streams have ended. Unavailability matters only before the first read: subscribers of a known state only wait longer
    /// for the next event.
    pub(super) fn publish(&self, new: ChannelState<L::Progress>) {
        self.state.send_if_modified(|state| {
            let changes = match *state {
                ChannelState::Closed | ChannelState::Diverged => false,
                ChannelState::Unread => new != ChannelState::Unread,
                current => new != ChannelState::Unavailable && new != current,
            };
            if changes {
                *state = new;
            }
            changes
        });
    }
}

/// One reader of a log's channel. Dropping it unsubscribes.
#[derive(Debug)]
pub struct Subscription<L: EventLog> {
    channel: Arc<Broadcast<L>>,
    /// `None` after [`Self::unsubscribe`], so that the channel no longer counts this subscriber.
    state: Option<watch::Receiver<ChannelState<L::Progress>>>,
}

impl<L: EventLog> Subscription<L> {
    pub(super) fn new(channel: Arc<Broadcast<L>>) -> Self {
        let state = Some(channel.state.subscribe());
        Self { channel, state }
    }

    pub fn channel(&self) -> &Arc<Broadcast<L>> {
        &self.channel
    }

    /// Returns the current state and marks it as seen for [`Self::changed`].
    pub fn state(&mut self) -> ChannelState<L::Progress> {
        self.state.as_mut().map_or(ChannelState::Closed, |state| *state.borrow_and_update())
    }

    /// Waits until the state differs from the one last seen.
    pub async fn changed(&mut self) {
        let changed = match &mut self.state {
            Some(state) => state.changed().await.is_ok(),
            None => false,
        };
        if !changed {
            // Unreachable, because the sender lives as long as `self`; pending prevents a busy loop in case of a bug.
            std::future::pending::<()>().await;
        }
    }

    /// Waits for the result of the first read.
    pub async fn first_state(&mut self) -> ChannelState<L::Progress> {
        loop {
            match self.state() {
                ChannelState::Unread => self.changed().await,
                state => return state,
            }
        }
    }

    pub(super) fn unsubscribe(&mut self) {
        self.state = None;
    }
}
