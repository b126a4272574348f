//! Announces that deployments have new events: to this process's streams immediately, to other replicas by a coalesced NOTIFY.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::limits::NOTIFY_INTERVAL;
use crate::db::Db;
use crate::failpoints::around;
use crate::metrics::ReconcileMetrics;

/// Collects ids and sends them at most once per `NOTIFY_INTERVAL`. A lost notification delays a stream by a second; it never loses an event.
#[derive(Clone)]
pub struct Notifier {
    shared: Arc<Shared>,
}

struct Shared {
    pending: Mutex<BTreeSet<String>>,
    wake: Notify,
    local: Box<dyn Fn(&str) + Send + Sync>,
}

impl Notifier {
    /// A notifier that also calls `local` immediately with each id.
    pub fn new(local: impl Fn(&str) + Send + Sync + 'static) -> Self {
        let shared = Shared { pending: Mutex::default(), wake: Notify::new(), local: Box::new(local) };
        Self { shared: Arc::new(shared) }
    }

    /// Announces that the deployment `id` has new events.
    pub fn events(&self, id: &str) {
        (self.shared.local)(id);
        self.pending().insert(id.to_owned());
        self.shared.wake.notify_one();
    }

    /// Sends until `stop`, then sends the remaining ids.
    pub async fn run(self, db: Db, metrics: ReconcileMetrics, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = self.shared.wake.notified() => {}
                () = stop.cancelled() => break,
            }
            self.send(&db, &metrics).await;
            tokio::time::sleep(NOTIFY_INTERVAL).await;
        }
        self.send(&db, &metrics).await;
    }

    async fn send(&self, db: &Db, metrics: &ReconcileMetrics) {
        let ids: Vec<String> = std::mem::take(&mut *self.pending()).into_iter().collect();
        if ids.is_empty() {
            return;
        }
        metrics.notified();
        if let Err(error) = around("notify", db.notify_events(&ids)).await {
            tracing::debug!(%error, "notification of events lost, streams find them by polling");
        }
    }

    fn pending(&self) -> parking_lot::MutexGuard<'_, BTreeSet<String>> {
        self.shared.pending.lock()
    }
}
