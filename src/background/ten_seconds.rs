//! The tasks of every ten seconds. They run one after another, on one connection: reads the state that all replicas share (counts, log filter),
//! probes that the database stores new rows, advances sequences, starts queued deployments of free targets, and detects stuck deployments.

use std::sync::Arc;

use tokio::sync::Notify;

use super::every::{Next, Periodic, Trigger};
use super::log_filter::AppliedFilter;
use super::stuck_deployments::StuckDeployments;
use crate::db::{Db, DbError};
use crate::metrics::ReconcileMetrics;
use crate::reconcile::dequeue;
use crate::steps::{Settings, Step};

pub(super) struct TenSeconds {
    db: Db,
    metrics: ReconcileMetrics,
    /// Steps that need a build permit.
    heavy: Vec<String>,
    log_filter: AppliedFilter,
    log_filter_changed: Arc<Notify>,
    stuck_deployments: StuckDeployments,
}

impl TenSeconds {
    /// The tasks; the log filter is also read when `log_filter_changed` is notified.
    pub(super) fn new(db: Db, settings: &Settings, metrics: ReconcileMetrics, log_filter_changed: Arc<Notify>) -> Self {
        Self {
            db,
            metrics,
            heavy: Step::heavy_names(),
            log_filter: AppliedFilter::default(),
            log_filter_changed,
            stuck_deployments: StuckDeployments::new(settings),
        }
    }

    async fn read_log_filter(&mut self) {
        let found = self.db.log_filter().await;
        self.log_filter.follow(found.as_ref().map(Clone::clone));
    }

    async fn read_shared_state(&mut self) {
        match self.db.poll_shared_state(&self.heavy).await {
            Ok((counts, set)) => {
                self.metrics.set_unfinished(counts);
                self.log_filter.follow(Ok(set));
            }
            Err(error) => {
                tracing::debug!(%error, "unfinished deployments not counted");
                self.log_filter.follow(Err(&error));
            }
        }
    }

    /// Advances sequences that are behind their tables: a standby that was promoted may have the rows and not the sequences' last values.
    async fn advance_sequences(&self) {
        match self.db.advance_sequences().await {
            Ok(sequences) => {
                for sequence in sequences {
                    tracing::warn!(sequence, "sequence was behind the rows of its table, advanced past them");
                }
            }
            Err(error) => tracing::debug!(%error, "sequences not checked"),
        }
    }
}

impl Periodic for TenSeconds {
    const NAME: &'static str = "tasks of every ten seconds";
    const ON_ERROR: &'static str = "tasks of every ten seconds failed";

    /// Completes when the log filter was changed at this replica, or has expired.
    async fn woken(&self) {
        tokio::select! {
            () = self.log_filter_changed.notified() => {}
            () = self.log_filter.expired() => {}
        }
    }

    /// An error of one task does not prevent the others, so each logs its own.
    async fn run(&mut self, trigger: Trigger) -> Result<Next, DbError> {
        if trigger == Trigger::Woken {
            self.read_log_filter().await;
            return Ok(Next::Period);
        }
        self.read_shared_state().await;
        self.db.probe_writes().await;
        self.advance_sequences().await;
        dequeue(&self.db).await;
        self.stuck_deployments.check(&self.db, &self.metrics).await;
        Ok(Next::Period)
    }
}
