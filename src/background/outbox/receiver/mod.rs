//! One receiver as the replica that holds it sees it: which events may be sent now, and which progress may be committed. No I/O.
//!
//! - Events of one deployment are sent one after another: the next one after the commit of the one before.
//! - An event that fails becomes a row, and with it each later event of its deployment; the other deployments continue.
//! - A place of the window is free again after the commit, so that a crash repeats at most as many events as may be in flight.
//! - A receiver that shows the state of deployments gets many events of one deployment as one delivery; what it shows is part of the commit.

mod changes;
mod quiet;
mod sending;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use tokio::time::Instant;
use uuid::Uuid;

use self::changes::{Changes, row};
pub(super) use self::sending::{Send, Settled};
use super::event_log::OutboxEvent;
use crate::db::feed::FeedKey;
use crate::db::outbox::{ClaimedCursor, DeliveryState, OutboxCommit};
use crate::domain::receiver::DeliveryReceiver;

/// Most events of a receiver in memory.
const WINDOW: usize = 128;

/// Most rows of pending and waiting deliveries: a receiver with more gets no new events, which stay in the table of events, until it answers again.
const MAX_OPEN: i64 = 1_000;

/// Reason of a delivery whose event retention has removed.
const REMOVED: &str = "the event was removed by retention";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EntryState {
    Queued,
    Sending,
    /// Answered, or stored as a row by the next commit.
    Settled,
}

#[derive(Debug)]
struct Entry {
    event: Arc<OutboxEvent>,
    state: EntryState,
}

#[derive(Debug)]
pub(super) struct Receiver {
    /// Identifies this holding: answers to requests of an earlier one are ignored.
    pub(super) holding: Uuid,
    pub(super) settings: Arc<DeliveryReceiver>,
    pub(super) version: i64,
    /// Time of the claim, by the database's clock.
    claimed_at: DateTime<Utc>,
    /// It is to be released once nothing is in flight.
    pub(super) leaving: bool,
    cursor: FeedKey,
    /// Everything up to here is in the window, or is not wanted.
    read: FeedKey,
    ahead: HashSet<Uuid>,
    window: VecDeque<Entry>,
    /// Due rows to send.
    retries: VecDeque<Send>,
    /// Deployments with an event that was sent and whose answer is not committed.
    busy: HashSet<String>,
    /// Rows that are in `retries`, or sent and not committed.
    retrying: HashSet<Uuid>,
    /// Number of pending and waiting rows, by deployment.
    open: HashMap<String, i64>,
    failures: u32,
    /// End of the quiet hours that hold the present time.
    quiet_until: Option<DateTime<Utc>>,
    /// No request before, because the receiver asked for a pause.
    paused_until: Option<Instant>,
    changes: Changes,
}

impl Receiver {
    pub(super) fn new(holding: Uuid, settings: Arc<DeliveryReceiver>, claimed: ClaimedCursor) -> Self {
        Self {
            holding,
            settings,
            claimed_at: claimed.claimed_at,
            version: claimed.version,
            leaving: false,
            read: claimed.cursor.clone(),
            cursor: claimed.cursor,
            ahead: claimed.ahead.into_iter().collect(),
            window: VecDeque::new(),
            retries: VecDeque::new(),
            busy: HashSet::new(),
            retrying: HashSet::new(),
            open: HashMap::new(),
            failures: 0,
            quiet_until: None,
            paused_until: None,
            changes: Changes::default(),
        }
    }

    /// Sets the numbers of open rows, as the database has them. Only right after a commit.
    pub(super) fn set_open(&mut self, open: HashMap<String, i64>) {
        self.open = open;
    }

    pub(super) fn open(&self) -> i64 {
        self.open.values().sum()
    }

    pub(super) fn read_position(&self) -> &FeedKey {
        &self.read
    }

    /// Returns the number of events that the window has place for.
    pub(super) fn capacity(&self) -> usize {
        let stopped = self.leaving || self.changes.gone || self.open() >= MAX_OPEN;
        if stopped { 0 } else { WINDOW.saturating_sub(self.window.len()) }
    }

    /// Creation time of the oldest event that is not settled.
    pub(super) fn oldest(&self) -> Option<DateTime<Utc>> {
        let entry = self.window.iter().find(|entry| entry.state != EntryState::Settled);
        entry.map(|entry| entry.event.created_at())
    }

    /// Adds the events after the read position, in order.
    pub(super) fn fill(&mut self, events: Vec<Arc<OutboxEvent>>) {
        for event in events {
            self.read = event.key().clone();
            let settled = self.ahead.remove(&event.id());
            if !settled && !event.matches(&self.settings.filter, self.settings.lang) {
                continue;
            }
            let state = if settled {
                EntryState::Settled
            } else if self.open.contains_key(event.deployment()) && !self.is_exception(&event) {
                self.park(&event);
                EntryState::Settled
            } else {
                EntryState::Queued
            };
            self.window.push_back(Entry { event, state });
        }
    }

    /// Continues at `key`, because there is no event before it.
    pub(super) fn skip_to(&mut self, key: &FeedKey) {
        if *key > self.read {
            self.read = key.clone();
        }
    }

    /// Adds a row that is due; a missing event becomes a dead letter.
    pub(super) fn retry(&mut self, key: FeedKey, id: Uuid, attempts: i32, event: Option<Arc<OutboxEvent>>) {
        if !self.retrying.insert(id) {
            return;
        }
        if let Some(event) = event {
            self.retries.push_back(Send { event, attempts: Some(attempts) });
            return;
        }
        self.changes.answered.push((String::new(), id));
        self.resolve(&key.deployment_id);
        let error = Some(REMOVED.to_owned());
        self.changes.rows.push(row(id, key, DeliveryState::Dead, attempts, None, (None, error)));
    }

    pub(super) fn retrying(&self) -> impl Iterator<Item = Uuid> {
        self.retrying.iter().copied()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.busy.is_empty() && self.changes.is_empty()
    }

    /// Takes what is to be committed; none when nothing has changed.
    pub(super) fn commit(&mut self) -> Option<OutboxCommit> {
        let mut cursor = self.cursor.clone();
        while self.window.front().is_some_and(|entry| entry.state == EntryState::Settled) {
            if let Some(entry) = self.window.pop_front() {
                cursor = entry.event.key().clone();
            }
        }
        if self.window.is_empty() {
            cursor = self.read.clone();
        }
        let ahead = self.window.iter().filter(|entry| entry.state == EntryState::Settled);
        // Those of the last holder that were not read again yet stay settled.
        let ahead: Vec<Uuid> = ahead.map(|entry| entry.event.id()).chain(self.ahead.iter().copied()).collect();
        if cursor == self.cursor && self.changes.is_empty() {
            return None;
        }
        self.cursor = cursor.clone();
        Some(self.changes.commit(&self.settings.id, self.version, cursor, ahead))
    }

    /// Frees the places of what was committed.
    pub(super) fn committed(&mut self, version: i64) {
        self.version = version;
        for (deployment, id) in std::mem::take(&mut self.changes.answered) {
            self.busy.remove(&deployment);
            self.retrying.remove(&id);
        }
    }

    fn settle(&mut self, id: Uuid) {
        if let Some(entry) = self.window.iter_mut().find(|entry| entry.event.id() == id) {
            entry.state = EntryState::Settled;
        }
    }

    /// Makes the queued events of a deployment wait behind its failed one.
    fn park_queued(&mut self, deployment: &str) {
        let mut parked = Vec::new();
        for entry in &mut self.window {
            if entry.state == EntryState::Queued && entry.event.deployment() == deployment {
                entry.state = EntryState::Settled;
                parked.push(Arc::clone(&entry.event));
            }
        }
        for event in parked {
            self.park(&event);
        }
    }

    fn park(&mut self, event: &Arc<OutboxEvent>) {
        *self.open.entry(event.deployment().to_owned()).or_default() += 1;
        self.changes.rows.push(row(event.id(), event.key().clone(), DeliveryState::Waiting, 0, None, (None, None)));
    }

    /// Ends a row of a deployment, so that its next one is released.
    fn resolve(&mut self, deployment: &str) {
        if let Some(count) = self.open.get_mut(deployment) {
            *count -= 1;
            if *count <= 0 {
                self.open.remove(deployment);
            }
        }
        self.changes.released.push(deployment.to_owned());
    }
}

#[cfg(test)]
mod tests;
