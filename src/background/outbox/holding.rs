//! Which receivers this replica holds: renewed, taken over and released with each beat.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::time::Instant;
use uuid::Uuid;

use super::event_log::OutboxEvent;
use super::receiver::Receiver;
use super::{LEASE, Outbox, SAFE_LEASE};
use crate::db::DbError;
use crate::db::outbox::{ClaimedCursor, OutboxView};
use crate::domain::receiver::DeliveryReceiver;
use crate::domain::receiver::assignment::sender_of;

/// Most rows of a receiver that one look makes due.
const DUE: i64 = 32;

impl Outbox {
    /// Renews the leases, and follows changes of receivers and replicas. Returns false when there are no enabled receivers.
    pub(super) async fn beat(&mut self) -> Result<bool, DbError> {
        let began = Instant::now();
        let held: Vec<String> = self.held.keys().cloned().collect();
        let view = self.db.beat_sender(self.sender, &held, LEASE).await?;
        self.times.leased = began + SAFE_LEASE;
        self.times.clock = view.now.map(|now| (now, Instant::now()));
        self.drop_lost(&view);
        let mut changed: Vec<String> = Vec::new();
        let mut wanted: Vec<String> = Vec::new();
        for seen in &view.receivers {
            let ours = sender_of(&seen.id, &view.senders) == Some(self.sender);
            match self.held.get_mut(&seen.id) {
                Some(receiver) => {
                    receiver.leaving = !ours;
                    if receiver.settings.revision != seen.revision {
                        changed.push(seen.id.clone());
                    }
                }
                None if ours && seen.free => wanted.push(seen.id.clone()),
                None => {}
            }
        }
        self.release_idle().await?;
        self.claim(&wanted).await?;
        self.reload(&changed).await?;
        self.add_due().await?;
        Ok(!view.receivers.is_empty())
    }

    /// Drops receivers that another replica holds, or whose last commits a failover has lost: those are claimed again.
    fn drop_lost(&mut self, view: &OutboxView) {
        let mine = view.receivers.iter().filter(|seen| seen.mine);
        let versions: HashMap<&str, i64> = mine.map(|seen| (seen.id.as_str(), seen.version)).collect();
        self.held.retain(|id, receiver| versions.get(id.as_str()) == Some(&receiver.version));
    }

    /// Releases receivers that belong to another replica and have nothing in flight.
    async fn release_idle(&mut self) -> Result<(), DbError> {
        let idle: Vec<String> = self
            .held
            .iter()
            .filter(|(_, receiver)| receiver.leaving && receiver.is_idle())
            .map(|(id, _)| id.clone())
            .collect();
        if idle.is_empty() {
            return Ok(());
        }
        self.db.release_cursors(self.sender, &idle).await?;
        self.held.retain(|id, _| !idle.contains(id));
        Ok(())
    }

    async fn claim(&mut self, wanted: &[String]) -> Result<(), DbError> {
        if wanted.is_empty() {
            return Ok(());
        }
        let claimed = self.db.claim_cursors(self.sender, wanted, LEASE).await?;
        let ids: Vec<String> = claimed.iter().map(|one| one.receiver.clone()).collect();
        for one in claimed {
            if let Some(receiver) = self.receiver(one).await {
                self.held.insert(receiver.settings.id.clone(), receiver);
            }
        }
        self.count_open(&ids).await
    }

    async fn receiver(&self, claimed: ClaimedCursor) -> Option<Receiver> {
        let settings = self.settings(&claimed.receiver).await?;
        Some(Receiver::new(Uuid::new_v4(), Arc::new(settings), claimed))
    }

    /// Settings of a receiver; none when it was deleted, or its secret cannot be decrypted now. The next beat tries again.
    async fn settings(&self, id: &str) -> Option<DeliveryReceiver> {
        match self.db.delivery_receiver(id).await {
            Ok(settings) => settings,
            Err(error) => {
                super::warn_throttled(&self.failures, &error, "settings of a receiver not read, retrying");
                None
            }
        }
    }

    async fn reload(&mut self, changed: &[String]) -> Result<(), DbError> {
        for id in changed {
            let Some(settings) = self.settings(id).await else { continue };
            if let Some(receiver) = self.held.get_mut(id) {
                receiver.settings = Arc::new(settings);
            }
        }
        self.count_open(changed).await
    }

    pub(super) async fn count_open(&mut self, receivers: &[String]) -> Result<(), DbError> {
        if receivers.is_empty() {
            return Ok(());
        }
        let mut counts: HashMap<String, HashMap<String, i64>> = HashMap::new();
        for (receiver, deployment, count) in self.db.open_deliveries(receivers).await? {
            counts.entry(receiver).or_default().insert(deployment, count);
        }
        for id in receivers {
            if let Some(receiver) = self.held.get_mut(id) {
                receiver.set_open(counts.remove(id).unwrap_or_default());
            }
        }
        Ok(())
    }

    async fn add_due(&mut self) -> Result<(), DbError> {
        let waiting = self.held.iter().filter(|(_, receiver)| receiver.open() > 0 && !receiver.leaving);
        let ids: Vec<String> = waiting.map(|(id, _)| id.clone()).collect();
        if ids.is_empty() {
            return Ok(());
        }
        let in_flight: Vec<Uuid> = self.held.values().flat_map(Receiver::retrying).collect();
        for due in self.db.due_deliveries(&ids, &in_flight, DUE).await? {
            if let Some(receiver) = self.held.get_mut(&due.receiver) {
                let event = due.event.map(|event| Arc::new(OutboxEvent::new(event)));
                receiver.retry(due.key, due.event_id, due.attempts, event);
            }
        }
        Ok(())
    }
}
