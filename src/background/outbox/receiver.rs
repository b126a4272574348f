//! One receiver as the replica that holds it sees it: which events may be sent now, and which progress may be committed. No I/O.
//!
//! - Events of one deployment are sent one after another: the next one after the commit of the one before.
//! - An event that fails becomes a row, and with it each later event of its deployment; the other deployments continue.
//! - A place of the window is free again after the commit, so that a crash repeats at most as many events as may be in flight.
//! - A receiver that shows the state of deployments gets many events of one deployment as one delivery; what it shows is part of the commit.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::Instant;
use uuid::Uuid;

use super::event_log::OutboxEvent;
use crate::db::feed::FeedKey;
use crate::db::outbox::{ClaimedCursor, DeliveryChange, DeliveryState, OutboxCommit, ShownDeployment};
use crate::domain::receiver::DeliveryReceiver;
use crate::domain::receiver::attempt::{AttemptAnswer, AttemptVerdict, next_wait};

/// Most events of a receiver in memory.
const WINDOW: usize = 128;

/// Most rows of pending and waiting deliveries: a receiver with more gets no new events, which stay in the table of events, until it answers again.
const MAX_OPEN: i64 = 1_000;

/// Failures in a row after which a success means that the receiver answers again.
const OUTAGE: u32 = 3;

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

/// A request to make.
#[derive(Clone, Debug)]
pub(super) struct Send {
    pub(super) event: Arc<OutboxEvent>,
    /// Failed attempts before it; none for an event of the window.
    pub(super) attempts: Option<i32>,
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

/// Changes since the last commit.
#[derive(Debug, Default)]
struct Changes {
    delivered: i64,
    rows: Vec<DeliveryChange>,
    released: Vec<String>,
    /// Deployments that are busy until the commit, and rows.
    answered: Vec<(String, Uuid)>,
    recovered: bool,
    gone: bool,
    shown: Vec<ShownDeployment>,
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

    /// Takes the present time, by the database's clock, which decides about quiet hours.
    pub(super) fn set_time(&mut self, now: Option<DateTime<Utc>>) {
        self.quiet_until = now.and_then(|now| self.settings.settings.quiet_until(now));
    }

    /// Reports that quiet hours do not hold an event, though they hold others.
    fn is_exception(&self, event: &OutboxEvent) -> bool {
        let quiet = self.settings.settings.options().and_then(|options| options.quiet.as_ref());
        self.quiet_until.is_some() && quiet.is_some_and(|quiet| event.is_excepted(quiet, self.settings.lang))
    }

    /// Stores the deliveries that quiet hours hold as rows that are due at their end.
    pub(super) fn defer(&mut self, now: DateTime<Utc>) {
        let Some(until) = self.quiet_until else { return };
        let wait = (until - now).to_std().unwrap_or_default();
        for send in std::mem::take(&mut self.retries) {
            if self.is_exception(&send.event) {
                self.retries.push_back(send);
                continue;
            }
            let (id, key) = (send.event.id(), send.event.key().clone());
            self.changes.answered.push((String::new(), id));
            let attempts = send.attempts.unwrap_or_default();
            self.changes.rows.push(row(id, key, DeliveryState::Pending, attempts, Some(wait), (None, None)));
        }
        let queued = self.window.iter().filter(|entry| entry.state == EntryState::Queued);
        let held: Vec<Arc<OutboxEvent>> = queued.map(|entry| Arc::clone(&entry.event)).collect();
        for event in held {
            let deployment = event.deployment();
            if self.is_exception(&event) || self.busy.contains(deployment) {
                continue;
            }
            self.settle(event.id());
            if self.open.contains_key(deployment) {
                self.park(&event);
                continue;
            }
            *self.open.entry(deployment.to_owned()).or_default() += 1;
            let (id, key) = (event.id(), event.key().clone());
            self.changes.rows.push(row(id, key, DeliveryState::Pending, 0, Some(wait), (None, None)));
        }
    }

    /// Takes the requests that may be made now.
    pub(super) fn sends(&mut self, now: Instant) -> Vec<Send> {
        let mut sends = Vec::new();
        let most = self.settings.settings.kind().max_in_flight();
        if self.leaving || self.changes.gone || self.paused_until.is_some_and(|until| now < until) {
            return sends;
        }
        // Rows first: they are older.
        for _ in 0..self.retries.len() {
            let Some(send) = self.retries.pop_front() else { break };
            if self.busy.len() < most && self.busy.insert(send.event.deployment().to_owned()) {
                sends.push(send);
            } else {
                self.retries.push_back(send);
            }
        }
        // A deployment whose earlier event is still queued is not overtaken.
        let mut queued: HashSet<&str> = HashSet::new();
        for entry in &mut self.window {
            if self.busy.len() >= most {
                break;
            }
            let deployment = entry.event.deployment();
            if entry.state != EntryState::Queued || !queued.insert(deployment) || self.busy.contains(deployment) {
                continue;
            }
            self.busy.insert(deployment.to_owned());
            entry.state = EntryState::Sending;
            sends.push(Send { event: Arc::clone(&entry.event), attempts: None });
        }
        sends
    }

    /// Takes the answer to a request, and decides what the next commit stores.
    pub(super) fn answered(&mut self, send: &Send, answer: &AttemptAnswer, roll: f64) -> Settled {
        let (event, id) = (&send.event, send.event.id());
        self.changes.answered.push((event.deployment().to_owned(), id));
        if send.attempts.is_none() {
            self.settle(id);
        }
        let verdict = answer.verdict;
        let failed = send.attempts.unwrap_or(0) + i32::from(verdict != AttemptVerdict::Delivered);
        let wait = next_wait(failed, answer.retry_after, roll);
        let (state, settled) = match (verdict, wait) {
            (AttemptVerdict::Delivered, _) => (DeliveryState::Delivered, Settled::Delivered),
            (AttemptVerdict::Failed, Some(_)) => (DeliveryState::Pending, Settled::Failed),
            (AttemptVerdict::Failed, None) | (AttemptVerdict::Gone | AttemptVerdict::Refused, _) => {
                (DeliveryState::Dead, Settled::Dead)
            }
        };
        if verdict == AttemptVerdict::Delivered {
            self.changes.delivered += 1;
            self.changes.recovered |= self.failures >= OUTAGE;
            self.failures = 0;
        } else {
            self.failures = self.failures.saturating_add(1);
            self.changes.gone |= verdict == AttemptVerdict::Gone;
        }
        if send.attempts.is_some() && state != DeliveryState::Pending {
            self.resolve(event.deployment());
        }
        if send.attempts.is_none() && state == DeliveryState::Pending {
            *self.open.entry(event.deployment().to_owned()).or_default() += 1;
            self.park_queued(event.deployment());
        }
        if send.attempts.is_some() || state != DeliveryState::Delivered {
            let wait = wait.filter(|_| state == DeliveryState::Pending);
            let outcome = (answer.status, answer.reason.clone());
            self.changes.rows.push(row(id, event.key().clone(), state, failed, wait, outcome));
        }
        settled
    }

    /// Takes what the receiver shows of a deployment after an answered request.
    pub(super) fn shown_by(&mut self, shown: Option<ShownDeployment>) {
        self.changes.shown.extend(shown);
    }

    /// Takes back a request that was not made: it is made again.
    pub(super) fn not_sent(&mut self, send: Send) {
        self.busy.remove(send.event.deployment());
        if send.attempts.is_some() {
            self.retries.push_front(send);
        } else if let Some(entry) = self.window.iter_mut().find(|entry| entry.event.id() == send.event.id()) {
            entry.state = EntryState::Queued;
        }
    }

    /// Makes no request until `until`.
    pub(super) fn pause(&mut self, until: Instant) {
        self.paused_until = self.paused_until.max(Some(until));
    }

    /// Reports that an earlier attempt, of this holder or another, may have reached the receiver without a stored result.
    pub(super) fn may_be_repeated(&self, send: &Send) -> bool {
        send.attempts.is_some() || self.failures > 0 || send.event.created_at() < self.claimed_at
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
        let changes = &mut self.changes;
        Some(OutboxCommit {
            receiver: self.settings.id.clone(),
            version: self.version,
            cursor,
            ahead,
            delivered: std::mem::take(&mut changes.delivered),
            rows: std::mem::take(&mut changes.rows),
            released: std::mem::take(&mut changes.released),
            recovered: std::mem::take(&mut changes.recovered),
            gone: changes.gone,
            shown: std::mem::take(&mut changes.shown),
        })
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

/// Outcome of an answered request, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settled {
    Delivered,
    Failed,
    Dead,
}

impl Settled {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Dead => "dead",
        }
    }
}

impl Changes {
    fn is_empty(&self) -> bool {
        self.delivered == 0
            && self.rows.is_empty()
            && self.answered.is_empty()
            && self.released.is_empty()
            && self.shown.is_empty()
    }
}

fn row(
    event_id: Uuid,
    key: FeedKey,
    state: DeliveryState,
    attempts: i32,
    wait: Option<Duration>,
    (status, error): (Option<u16>, Option<String>),
) -> DeliveryChange {
    DeliveryChange { event_id, key, state, attempts, wait, status, error }
}

#[cfg(test)]
#[path = "receiver_tests.rs"]
mod tests;
