//! The replica's lease: a heartbeat by the database's clock, and the rule that we stop before others take over.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::db::ownership::Heartbeat;
use crate::db::{Class, Db};
use crate::domain::news::News;

/// What keeps it from joining, and from renewing.
static JOINING: News = News::new();
static RENEWING: News = News::new();

/// One membership of the set of living replicas. When it ends, everything that was owned under it is forgotten.
#[derive(Clone, Debug)]
pub(super) struct Lease {
    /// The id under which deployments are owned.
    pub(super) replica: Uuid,
    /// Cancelled when the lease is lost.
    pub(super) lost: CancellationToken,
}

/// The present lease, renewed in the background.
#[derive(Clone)]
pub(super) struct Leases {
    db: Db,
    /// Stays the same when a lease is lost.
    process: Uuid,
    name: String,
    length: Duration,
    present: Arc<Mutex<Option<Lease>>>,
}

impl Leases {
    pub(super) fn new(db: Db, name: String, length: Duration) -> Self {
        Self { db, process: Uuid::now_v7(), name, length, present: Arc::default() }
    }

    /// The present lease; none while the database cannot be reached.
    pub(super) fn present(&self) -> Option<Lease> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, lease: Option<Lease>) {
        let before = std::mem::replace(&mut *self.present.lock().unwrap_or_else(PoisonError::into_inner), lease);
        if let Some(before) = before {
            before.lost.cancel();
        }
    }

    /// Keeps a lease until `stop`: joins, renews, and joins again under another id when the lease was lost. `look` is called
    /// after each joining.
    pub(super) async fn keep(&self, stop: CancellationToken, look: impl Fn()) {
        let mut rejoined = false;
        while !stop.is_cancelled() {
            let replica = Uuid::now_v7();
            let asked = Instant::now();
            let registered = tokio::time::timeout(
                self.length,
                self.db.register_replica(replica, self.process, &self.name, self.length),
            )
            .await;
            match registered {
                Ok(Ok(())) => {
                    self.db.note_heartbeat(None);
                    tracing::info!(lease = %replica, "joined as a replica");
                    self.set(Some(Lease { replica, lost: CancellationToken::new() }));
                    look();
                    let record = rejoined.then(|| self.record_lost_leases());
                    tokio::join!(self.renew(replica, asked, &stop), futures_util::future::OptionFuture::from(record));
                    rejoined = true;
                }
                Ok(Err(error)) => {
                    if JOINING.are(&error) {
                        tracing::warn!(%error, "cannot join as a replica; deployments wait");
                    }
                    self.db.note_heartbeat(Some(self.db.in_words(&error)));
                }
                Err(_) => {
                    let error = self.db.silence();
                    if JOINING.are(&error) {
                        tracing::warn!(error, "cannot join as a replica; deployments wait");
                    }
                    self.db.note_heartbeat(Some(error));
                }
            }
            if !stop.is_cancelled() {
                sleep_or(&stop, self.interval()).await;
            }
        }
    }

    /// Four chances in each lease.
    fn interval(&self) -> Duration {
        self.length / 4
    }

    /// Renews until the lease is lost or `stop`. `renewed` is when the last good renewal was *asked* for: the database's clock
    /// for us began no earlier.
    async fn renew(&self, replica: Uuid, mut renewed: Instant, stop: &CancellationToken) {
        // Others take over at the full length; we stop a tenth before.
        let usable = self.length.mul_f64(0.9);
        loop {
            let deadline = renewed + usable;
            // Never past the deadline: heartbeats that are refused at once would otherwise be tried until others take over.
            let rest = deadline.saturating_duration_since(Instant::now());
            sleep_or(stop, self.interval().min(rest)).await;
            if stop.is_cancelled() {
                return;
            }
            let asked = Instant::now();
            if asked >= deadline {
                tracing::warn!(lease = %replica, "lease not renewed in time, dropping all work");
                return self.set(None);
            }
            match tokio::time::timeout_at(deadline, self.db.heartbeat(replica)).await {
                Ok(Ok(Heartbeat::Renewed)) => {
                    renewed = asked;
                    self.db.note_heartbeat(None);
                }
                Ok(Ok(Heartbeat::Lost)) => {
                    tracing::warn!(lease = %replica, "lease expired, dropping all work");
                    return self.set(None);
                }
                Ok(Err(error)) => {
                    if RENEWING.are(&error) {
                        tracing::warn!(%error, lease = %replica, "a heartbeat failed");
                    }
                    self.db.note_heartbeat(Some(self.db.in_words(&error)));
                }
                Err(_) => self.db.note_heartbeat(Some(self.db.silence())),
            }
        }
    }

    /// The records of what was interrupted say that this process lives.
    async fn record_lost_leases(&self) {
        if let Err(error) = self.db.of(Class::Reconcile).record_lost_leases(self.process).await {
            tracing::warn!(%error, "step_runs still shows lost leases as deaths");
        }
    }

    /// Gives all back and leaves.
    pub(super) async fn leave(&self) {
        let Some(lease) = self.present() else { return };
        match tokio::time::timeout(
            Duration::from_secs(2),
            self.db.of(Class::Reconcile).deregister_replica(lease.replica),
        )
        .await
        {
            Ok(Ok(())) => tracing::info!(lease = %lease.replica, "left; all deployments are given back"),
            Ok(Err(error)) => tracing::warn!(%error, "could not leave; others take over when the lease runs out"),
            Err(_) => tracing::warn!("could not leave in time; others take over when the lease runs out"),
        }
        self.set(None);
    }
}

async fn sleep_or(stop: &CancellationToken, duration: Duration) {
    tokio::select! {
        () = tokio::time::sleep(duration) => {}
        () = stop.cancelled() => {}
    }
}
