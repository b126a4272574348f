//! Removes data past its retention, on the times of cron expressions or on request.
//!
//! # The crash argument
//! A run is a row of `maintenance_runs`. Everything in memory can be lost at any line:
//!
//! 1. **Before the row**: nothing happened. Another replica starts the run of the same tick, or the next tick comes.
//! 2. **Between batches, or in one**: a batch is one transaction that removes rows, stores its position and renews the run's row. It happened or
//!    it did not; every removed row is counted. When the row has not been renewed for [`LEASE`], the next replica that polls ends the run as
//!    interrupted, and the next run resumes after the last batch.
//! 3. **Paused past the lease**: the run has been ended; the first batch afterwards finds that and is rolled back.
//! 4. **After the last batch, before the end is written**: as 2; the next run finds nothing to do.
//!
//! Removing a folder or an image may be repeated without harm.

mod local_files;
mod run;
mod run_end;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use tokio::sync::{Mutex, Notify};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::every::{Next, Period, Periodic, Trigger, every};
use super::{MINUTE, TEN_SECONDS};
use crate::clients::docker::Docker;
#[cfg(doc)]
use crate::db::maintenance::LEASE;
use crate::db::maintenance::MaintenanceJob;
use crate::db::{Db, DbError};
use crate::domain::maintenance::{RetentionPeriod, RetentionRule};
use crate::metrics::Metrics;

/// Interval between two polls for requested runs where the ten-second tasks find them and notify.
const NOTIFIED_CHECK_INTERVAL: Period = Period::Interval(Duration::from_mins(5));

/// Time that batches have to end at a shutdown.
const DRAIN: Duration = Duration::from_secs(2);

/// Dependencies and rules of the retention.
#[derive(Clone, Debug)]
pub struct RetentionContext {
    /// Pool of the class for background work.
    pub db: Db,
    /// Engine whose images of ended deployments are removed.
    pub docker: Docker,
    /// Folder that contains the checked-out sources.
    pub workspace_dir: PathBuf,
    /// Counters of runs and removed items.
    pub metrics: Metrics,
    /// Host name and process id, stored with each run.
    pub replica: String,
    /// Retention and cron expression of each kind of data.
    pub rules: Arc<Vec<RetentionRule>>,
    /// Number of releases of each target that are kept for rollbacks.
    pub keep_releases: u32,
    /// Notified when a run was requested at this replica.
    pub requested: Arc<Notify>,
}

/// The retention of one replica: cheap to clone.
#[derive(Clone, Debug)]
pub struct Retention {
    context: RetentionContext,
    tasks: TaskTracker,
    /// Cancelled when batches must end.
    stop: CancellationToken,
    /// Time up to which due rules have been started.
    checked_until: Arc<Mutex<DateTime<Utc>>>,
    /// Period of polls for requested runs.
    requests_check: Period,
}

impl Retention {
    /// A retention that does nothing until [`Retention::run`].
    pub fn new(context: RetentionContext) -> Self {
        let checked_until = Arc::new(Mutex::new(Utc::now()));
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        Self { context, tasks, stop, checked_until, requests_check: TEN_SECONDS }
    }

    /// The same retention, of which another task finds requested runs; with the handle that it has to notify.
    pub(super) fn notified(self) -> (Self, Arc<Notify>) {
        let requested = Arc::clone(&self.context.requested);
        (Self { requests_check: NOTIFIED_CHECK_INTERVAL, ..self }, requested)
    }

    /// Runs until `stop`; then lets the running batches end.
    pub async fn run(self, stop: CancellationToken) {
        let due = every(MINUTE, stop.clone(), DueRules(self.clone()));
        let requested = every(self.requests_check, stop, RequestedRuns(self.clone()));
        tokio::join!(due, requested);
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(DRAIN, self.tasks.wait()).await.is_err() {
            tracing::warn!("maintenance batch did not end in time; its transaction commits or rolls back as a whole");
        }
    }

    /// Starts the rules that became due since the last call, up to `now`. Other replicas do the same: the database gives each run to one of them.
    pub async fn begin_due(&self, now: DateTime<Utc>) {
        let since = {
            let mut checked_until = self.checked_until.lock().await;
            std::mem::replace(&mut *checked_until, now)
        };
        for rule in self.context.rules.iter().filter(|rule| !rule.is_never()) {
            let Some(due) = rule.cron.next_after(since, Tz::UTC).filter(|due| *due <= now) else { continue };
            match self.context.db.begin_maintenance(self.wanted(rule), due).await {
                Ok(Some(run)) => self.spawn(run),
                Ok(None) => tracing::debug!(kind = %rule.kind, "another replica runs this maintenance"),
                Err(error) => tracing::warn!(%error, kind = %rule.kind, "maintenance run not started"),
            }
        }
    }

    /// Starts runs that were requested.
    async fn start_requested(&self) -> Result<(), DbError> {
        if !self.context.db.expire_maintenance_runs().await? {
            return Ok(());
        }
        for rule in self.context.rules.iter() {
            match self.context.db.begin_requested(self.wanted(rule)).await {
                Ok(run) => run.into_iter().for_each(|run| self.spawn(run)),
                Err(error) => tracing::warn!(%error, kind = %rule.kind, "maintenance run not started"),
            }
        }
        Ok(())
    }

    fn wanted<'a>(&'a self, rule: &RetentionRule) -> MaintenanceJob<'a> {
        MaintenanceJob {
            kind: rule.kind,
            replica: &self.context.replica,
            keep: rule.keep.and_then(RetentionPeriod::duration),
        }
    }

    fn spawn(&self, run: crate::db::maintenance::ClaimedRun) {
        let (context, stop, requested) = (self.context.clone(), self.stop.clone(), Arc::clone(&self.context.requested));
        self.tasks.spawn(async move {
            run::carry_out(&context, run, &stop).await;
            // A requested run may have waited for this one.
            requested.notify_one();
        });
    }
}

/// Starts the rules that are due. `domain::cron` decides which: Panda reads all its cron expressions with one parser.
struct DueRules(Retention);

impl Periodic for DueRules {
    const NAME: &'static str = "maintenance";
    const ON_ERROR: &'static str = "maintenance run not started";

    async fn run(&mut self, _trigger: Trigger) -> Result<Next, DbError> {
        self.0.begin_due(Utc::now()).await;
        Ok(Next::Period)
    }
}

/// Starts the runs that were requested, at this replica or another one.
struct RequestedRuns(Retention);

impl Periodic for RequestedRuns {
    const NAME: &'static str = "requested maintenance";
    const ON_ERROR: &'static str = "requested maintenance not polled";

    async fn woken(&self) {
        self.0.context.requested.notified().await;
    }

    async fn run(&mut self, _trigger: Trigger) -> Result<Next, DbError> {
        self.0.start_requested().await?;
        Ok(Next::Period)
    }
}
