//! Keeping it small: what is over its retention is removed, by cron expressions or when somebody asks for it.
//!
//! # The crash argument
//! A run is a row of `maintenance_runs`. What is in memory can be lost at any line:
//!
//! 1. **Before the row**: nothing happened. Another replica begins the run of the same tick, or the next tick comes.
//! 2. **Between batches, or in one**: a batch is one transaction that removes, notes how far it came and renews the row. It happened or it
//!    did not; nothing is removed that is not counted. When the row has not been renewed for [`LEASE`] it is ended as interrupted
//!    by whoever looks next, and the next run goes on where the last batch ended.
//! 3. **Paused past the lease**: the row is ended; the first batch afterwards finds that and is rolled back.
//! 4. **After the last batch, before the end is written**: as 2; the next run finds nothing to do.
//!
//! Removing a folder or an image is repeated without harm.

mod local;
mod run;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use tokio::sync::{Mutex, Notify};
use tokio::time::MissedTickBehavior;
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clients::docker::Docker;
use crate::db::Db;
#[cfg(doc)]
use crate::db::maintenance::LEASE;
use crate::db::maintenance::Wanted;
use crate::domain::maintenance::{Keep, Rule};
use crate::domain::news::News;
use crate::metrics::Metrics;

/// Between two looks for runs that somebody asked for at another replica.
const LOOK: Duration = Duration::from_secs(10);

/// What keeps it from looking.
static LOOKING: News = News::new();

/// At the start of every minute. Whether a rule is due in it, our own reading of its expression says: there is one for all of Panda.
const EVERY_MINUTE: &str = "0 * * * * *";

/// How long batches may take to end at a shutdown.
const DRAIN: Duration = Duration::from_secs(2);

/// What maintenance works with.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The database.
    pub db: Db,
    /// The engine that builds.
    pub docker: Docker,
    /// Where sources are checked out.
    pub workspace_dir: PathBuf,
    /// What is counted.
    pub metrics: Metrics,
    /// Host name and process id.
    pub replica: String,
    /// What is removed, and when.
    pub rules: Arc<Vec<Rule>>,
    /// Told when somebody asked for a run here.
    pub asked: Arc<Notify>,
}

/// The maintenance of one replica: cheap to clone.
#[derive(Clone, Debug)]
pub struct Maintenance {
    parts: Parts,
    tasks: TaskTracker,
    /// Cancelled when batches are to end.
    stop: CancellationToken,
    /// Until when rules were looked at.
    looked: Arc<Mutex<DateTime<Utc>>>,
}

impl Maintenance {
    /// It does nothing until [`Maintenance::run`].
    pub fn new(parts: Parts) -> Self {
        let looked = Arc::new(Mutex::new(Utc::now()));
        Self { parts, tasks: TaskTracker::new(), stop: CancellationToken::new(), looked }
    }

    /// Works until `stop`; then lets the batches that are under way end.
    pub async fn run(self, stop: CancellationToken) {
        let mut scheduler = match self.schedule().await {
            Ok(scheduler) => scheduler,
            Err(error) => return tracing::error!(%error, "maintenance could not be scheduled"),
        };
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = looks.tick() => {}
                () = self.parts.asked.notified() => {}
                () = stop.cancelled() => break,
            }
            self.look().await;
        }
        self.stop.cancel();
        if let Err(error) = scheduler.shutdown().await {
            tracing::debug!(%error, "the scheduler of maintenance did not end cleanly");
        }
        self.tasks.close();
        if tokio::time::timeout(DRAIN, self.tasks.wait()).await.is_err() {
            tracing::warn!("a batch of maintenance did not end in time; it happens wholly or not at all");
        }
    }

    async fn schedule(&self) -> Result<JobScheduler, JobSchedulerError> {
        let scheduler = JobScheduler::new().await?;
        let me = self.clone();
        let job = Job::new_async(EVERY_MINUTE, move |_, _| {
            let me = me.clone();
            Box::pin(async move { me.begin_due(Utc::now()).await })
        })?;
        scheduler.add(job).await?;
        scheduler.start().await?;
        Ok(scheduler)
    }

    /// Begins what was due since the last time, up to `now`. Other replicas do the same: the database says whose a run is.
    pub async fn begin_due(&self, now: DateTime<Utc>) {
        let since = {
            let mut looked = self.looked.lock().await;
            std::mem::replace(&mut *looked, now)
        };
        for rule in self.parts.rules.iter().filter(|rule| !rule.is_never()) {
            let Some(due) = rule.cron.next_after(since, Tz::UTC).filter(|due| *due <= now) else { continue };
            match self.parts.db.begin_maintenance(self.wanted(rule), due).await {
                Ok(Some(run)) => self.spawn(run),
                Ok(None) => tracing::debug!(kind = %rule.kind, "another replica has this run"),
                Err(error) => tracing::warn!(%error, kind = %rule.kind, "a run of maintenance could not be begun"),
            }
        }
    }

    /// Begins what somebody asked for.
    async fn look(&self) {
        match self.parts.db.tend_maintenance().await {
            Ok(true) => {}
            Err(error) if LOOKING.are(&error) => {
                return tracing::warn!(%error, "could not look for maintenance that was asked for");
            }
            Ok(false) | Err(_) => return,
        }
        for rule in self.parts.rules.iter() {
            match self.parts.db.begin_requested(self.wanted(rule)).await {
                Ok(run) => run.into_iter().for_each(|run| self.spawn(run)),
                Err(error) => tracing::warn!(%error, kind = %rule.kind, "a run of maintenance could not be begun"),
            }
        }
    }

    fn wanted<'a>(&'a self, rule: &Rule) -> Wanted<'a> {
        Wanted { kind: rule.kind, replica: &self.parts.replica, keep: rule.keep.and_then(Keep::duration) }
    }

    fn spawn(&self, run: crate::db::maintenance::Run) {
        let (parts, stop, asked) = (self.parts.clone(), self.stop.clone(), Arc::clone(&self.parts.asked));
        self.tasks.spawn(async move {
            run::carry_out(&parts, run, &stop).await;
            // One that waited for this one may begin.
            asked.notify_one();
        });
    }
}
