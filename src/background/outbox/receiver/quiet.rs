//! Quiet hours: what they hold becomes rows that are due at their end.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::{EntryState, Receiver, row};
use crate::background::outbox::event_log::OutboxEvent;
use crate::db::outbox::DeliveryState;

impl Receiver {
    /// Takes the present time, by the database's clock, which decides about quiet hours.
    pub(in crate::background::outbox) fn set_time(&mut self, now: Option<DateTime<Utc>>) {
        self.quiet_until = now.and_then(|now| self.settings.settings.quiet_until(now));
    }

    /// Reports that quiet hours do not hold an event, though they hold others.
    pub(super) fn is_exception(&self, event: &OutboxEvent) -> bool {
        let quiet = self.settings.settings.options().and_then(|options| options.quiet.as_ref());
        self.quiet_until.is_some() && quiet.is_some_and(|quiet| event.is_excepted(quiet, self.settings.lang))
    }

    /// Stores the deliveries that quiet hours hold as rows that are due at their end.
    pub(in crate::background::outbox) fn defer(&mut self, now: DateTime<Utc>) {
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
}
