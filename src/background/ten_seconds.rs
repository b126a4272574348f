//! The tasks of every ten seconds. One statement reads the state that all replicas share and advances sequences; the tasks run one after another,
//! those with a separate statement only when the state shows work for them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::every::{Next, Periodic, Trigger, warn_throttled};
use super::log_filter::AppliedFilter;
use super::stuck_deployments::StuckDeployments;
use crate::commands::auto_switch::switch_due;
use crate::db::{Db, DbError};
use crate::domain::log_throttle::LogThrottle;
use crate::failpoints::around;
use crate::metrics::Metrics;
use crate::reconcile::dequeue;
use crate::steps::{Settings, Step};

/// A freeze that ends later is seen by the next poll, or by a poll after it.
const PERIOD: Duration = Duration::from_secs(15);
/// Longest difference between the sleep of this process and the database's clock that is made up for; the next poll starts what was missed.
const MARGIN: Duration = Duration::from_millis(50);

/// Handles of tasks that others wake.
pub(super) struct Signals {
    /// Notified by the API: the log filter was changed at this replica.
    pub(super) log_filter_changed: Arc<Notify>,
    /// Notified by these tasks: a maintenance run is requested or in progress.
    pub(super) maintenance: Option<Arc<Notify>>,
    /// Sent by these tasks: there are schedules with a next time.
    pub(super) schedules: watch::Sender<bool>,
    /// Sent by these tasks: there are enabled receivers.
    pub(super) receivers: watch::Sender<bool>,
}

pub(super) struct TenSeconds {
    db: Db,
    metrics: Metrics,
    /// Steps that need a build permit.
    heavy: Vec<String>,
    /// Time limits of the steps.
    limits: Vec<(String, Duration)>,
    log_filter: AppliedFilter,
    signals: Signals,
    stuck_deployments: StuckDeployments,
    failures: LogThrottle,
    /// When a freeze ends before the next poll, and the deployments that it held may start.
    freeze_end: Option<Instant>,
    /// Cleared after an error: the next poll then only reads.
    advance_sequences: bool,
    /// The server requires another approver than who started an attempt: nothing is switched automatically.
    four_eyes: bool,
}

impl TenSeconds {
    pub(super) fn new(db: Db, settings: &Settings, metrics: Metrics, signals: Signals, four_eyes: bool) -> Self {
        Self {
            db,
            metrics,
            heavy: Step::heavy_names(),
            limits: Step::limits(settings),
            log_filter: AppliedFilter::default(),
            signals,
            stuck_deployments: StuckDeployments::default(),
            failures: LogThrottle::new(),
            freeze_end: None,
            advance_sequences: true,
            four_eyes,
        }
    }

    async fn read_log_filter(&mut self) {
        let found = self.db.log_filter().await;
        self.log_filter.follow(found.as_ref().map(Clone::clone));
    }

    /// Reads the shared state and acts on it. A standby that was promoted may have the rows and not the sequences' last values, so sequences are
    /// advanced; where that fails, every second poll leaves it out, so that it does not prevent the rest.
    async fn follow_shared_state(&mut self) {
        let advance = std::mem::replace(&mut self.advance_sequences, true);
        let state = match self.db.poll_shared_state(&self.heavy, &self.limits, advance).await {
            Ok(state) => state,
            Err(error) => {
                self.advance_sequences = !advance;
                self.log_filter.follow(Err(&error));
                return warn_throttled(&self.failures, &error, "shared state not polled: queue, stuck deployments");
            }
        };
        self.metrics.reconcile.set_unfinished(state.unfinished);
        self.metrics.watch.set_watched(state.watched);
        self.log_filter.follow(Ok(state.log_filter));
        self.stuck_deployments.report(state.stuck.as_ref(), &self.metrics.reconcile);
        for sequence in state.advanced_sequences {
            tracing::warn!(sequence, "sequence was behind the rows of its table, advanced past them");
        }
        self.freeze_end = state.freeze_ends_in.filter(|wait| *wait < PERIOD).map(|wait| Instant::now() + wait + MARGIN);
        self.signals.schedules.send_replace(state.schedules);
        self.signals.receivers.send_replace(state.receivers);
        if let Some(requested) = self.signals.maintenance.as_ref().filter(|_| state.maintenance) {
            requested.notify_one();
        }
        if state.queue_may_start {
            around("dequeue", dequeue(&self.db)).await;
        }
        if state.automatic_switches && !self.four_eyes {
            self.switch_due().await;
        }
    }

    /// Requests the switches that policies make.
    async fn switch_due(&self) {
        match around("automatic switch", switch_due(&self.db)).await {
            Ok(switched) => {
                for id in switched {
                    tracing::info!(deployment = id, "switch requested by the policy");
                    if let Err(error) = self.db.notify_work(&id).await {
                        tracing::debug!(%error, "notification of work lost, the sweep finds the row");
                    }
                }
            }
            Err(error) => warn_throttled(&self.failures, &error, "automatic switches not requested, retrying"),
        }
    }
}

/// Completes at the time; never without one.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

impl Periodic for TenSeconds {
    const NAME: &'static str = "tasks of every ten seconds";
    const ON_ERROR: &'static str = "tasks of every ten seconds failed";

    /// Completes when the log filter was changed at this replica, or has expired, or a freeze has ended.
    async fn woken(&self) {
        tokio::select! {
            () = self.signals.log_filter_changed.notified() => {}
            () = self.log_filter.expired() => {}
            () = until(self.freeze_end) => {}
        }
    }

    /// An error of one task does not prevent the others, so each logs its own.
    async fn run(&mut self, trigger: Trigger) -> Result<Next, DbError> {
        if trigger == Trigger::Woken {
            if self.freeze_end.take_if(|end| *end <= Instant::now()).is_some() {
                around("dequeue", dequeue(&self.db)).await;
            }
            self.read_log_filter().await;
            return Ok(Next::Period);
        }
        self.follow_shared_state().await;
        self.db.probe_writes().await;
        Ok(Next::Period)
    }
}
