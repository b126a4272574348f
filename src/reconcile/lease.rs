//! The replica's lease: a heartbeat by the database's clock, and the rule that a replica stops before others take over.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::db::ownership::Heartbeat;
use crate::db::{Class, Db};
use crate::domain::log_throttle::LogThrottle;

static JOIN_ERRORS: LogThrottle = LogThrottle::new();
static RENEW_ERRORS: LogThrottle = LogThrottle::new();

/// One membership in the set of live replicas. When it ends, the replica drops all deployments owned under it.
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
    /// Id of the process; unlike the replica's id, it survives the loss of a lease.
    process: Uuid,
    name: String,
    length: Duration,
    present: Arc<Mutex<Option<Lease>>>,
}

impl Leases {
    pub(super) fn new(db: Db, name: String, length: Duration) -> Self {
        Self { db, process: Uuid::now_v7(), name, length, present: Arc::default() }
    }

    /// The present lease; `None` while the replica has not joined.
    pub(super) fn present(&self) -> Option<Lease> {
        self.present.lock().clone()
    }

    fn set(&self, lease: Option<Lease>) {
        let before = std::mem::replace(&mut *self.present.lock(), lease);
        if let Some(before) = before {
            before.lost.cancel();
        }
    }

    /// Keeps a lease until `stop`: joins, renews, and joins again under another id when the lease was lost. Calls `on_join`
    /// after each join.
    pub(super) async fn keep(&self, stop: CancellationToken, on_join: impl Fn()) {
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
                    on_join();
                    let record = rejoined.then(|| self.record_lost_leases());
                    tokio::join!(self.renew(replica, asked, &stop), futures_util::future::OptionFuture::from(record));
                    rejoined = true;
                }
                Ok(Err(error)) => {
                    if JOIN_ERRORS.allows(&error) {
                        tracing::warn!(%error, "replica cannot join, its deployments wait");
                    }
                    self.db.note_heartbeat(Some(error.message()));
                }
                Err(_) => {
                    let error = self.db.no_answer_cause();
                    if JOIN_ERRORS.allows(&error) {
                        tracing::warn!(%error, "replica cannot join, its deployments wait");
                    }
                    self.db.note_heartbeat(Some(error));
                }
            }
            if !stop.is_cancelled() {
                sleep_or(&stop, self.interval()).await;
            }
        }
    }

    /// Allows four heartbeats within each lease.
    fn interval(&self) -> Duration {
        self.length / 4
    }

    /// Renews until the lease is lost or `stop`. `renewed` is the time at which the last successful heartbeat was *sent*: the database
    /// cannot have started the lease's time any earlier.
    async fn renew(&self, replica: Uuid, mut renewed: Instant, stop: &CancellationToken) {
        // Others take over at the full length; this replica stops a tenth before.
        let usable = self.length.mul_f64(0.9);
        loop {
            let deadline = renewed + usable;
            // Never sleep past the deadline: heartbeats that fail immediately would otherwise be tried until others take over.
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
                    if RENEW_ERRORS.allows(&error) {
                        tracing::warn!(%error, lease = %replica, "heartbeat failed");
                    }
                    self.db.note_heartbeat(Some(error.message()));
                }
                Err(_) => self.db.note_heartbeat(Some(self.db.no_answer_cause())),
            }
        }
    }

    /// Marks interrupted step runs of this process as lost leases: it is alive, so they were not process deaths.
    async fn record_lost_leases(&self) {
        if let Err(error) = self.db.of(Class::Reconcile).record_lost_leases(self.process).await {
            tracing::warn!(%error, "lost leases not recorded, step_runs still shows them as process deaths");
        }
    }

    /// Releases all deployments and leaves the set of replicas.
    pub(super) async fn leave(&self) {
        let Some(lease) = self.present() else { return };
        match tokio::time::timeout(
            Duration::from_secs(2),
            self.db.of(Class::Reconcile).deregister_replica(lease.replica),
        )
        .await
        {
            Ok(Ok(())) => tracing::info!(lease = %lease.replica, "replica left, all deployments released"),
            Ok(Err(error)) => {
                tracing::warn!(%error, "replica could not leave; others take over when the lease expires");
            }
            Err(_) => tracing::warn!("replica could not leave in time; others take over when the lease expires"),
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
