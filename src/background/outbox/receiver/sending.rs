//! Which requests may be made now, and what their answers mean.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::time::Instant;

use super::{EntryState, Receiver, row};
use crate::background::outbox::event_log::OutboxEvent;
use crate::db::outbox::{DeliveryState, ShownDeployment};
use crate::domain::receiver::attempt::{AttemptAnswer, AttemptVerdict, next_wait};

/// Failures in a row after which a success means that the receiver answers again.
pub(super) const OUTAGE: u32 = 3;

/// A request to make.
#[derive(Clone, Debug)]
pub(in crate::background::outbox) struct Send {
    pub(in crate::background::outbox) event: Arc<OutboxEvent>,
    /// Failed attempts before it; none for an event of the window.
    pub(in crate::background::outbox) attempts: Option<i32>,
}

/// Outcome of an answered request, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::background::outbox) enum Settled {
    Delivered,
    Failed,
    Dead,
}

impl Settled {
    pub(in crate::background::outbox) fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Dead => "dead",
        }
    }
}

impl Receiver {
    /// Takes the requests that may be made now.
    pub(in crate::background::outbox) fn sends(&mut self, now: Instant) -> Vec<Send> {
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
    pub(in crate::background::outbox) fn answered(
        &mut self,
        send: &Send,
        answer: &AttemptAnswer,
        roll: f64,
    ) -> Settled {
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
    pub(in crate::background::outbox) fn shown_by(&mut self, shown: Option<ShownDeployment>) {
        self.changes.shown.extend(shown);
    }

    /// Takes back a request that was not made: it is made again.
    pub(in crate::background::outbox) fn not_sent(&mut self, send: Send) {
        self.busy.remove(send.event.deployment());
        if send.attempts.is_some() {
            self.retries.push_front(send);
        } else if let Some(entry) = self.window.iter_mut().find(|entry| entry.event.id() == send.event.id()) {
            entry.state = EntryState::Queued;
        }
    }

    /// Makes no request until `until`.
    pub(in crate::background::outbox) fn pause(&mut self, until: Instant) {
        self.paused_until = self.paused_until.max(Some(until));
    }

    /// Reports that an earlier attempt, of this holder or another, may have reached the receiver without a stored result.
    pub(in crate::background::outbox) fn may_be_repeated(&self, send: &Send) -> bool {
        send.attempts.is_some() || self.failures > 0 || send.event.created_at() < self.claimed_at
    }
}
