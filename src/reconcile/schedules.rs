//! Schedules whose time has come. Every replica looks; each time is dealt with by one of them, in one transaction (`db/schedules`). What a process
//! that dies leaves undone is due still, for whoever looks next.
//!
//! A schedule runs only while the permission of its owner exists (`domain/permission`), which depends on the settings of the server. While a
//! roll changes them, replicas with the newest run schedules and the others do not.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::limits::{PERMISSIONS_SWEEP, SCHEDULES_AGAIN, SCHEDULES_SWEEP, SETTINGS_LOOK};
use super::notifier::Notifier;
use crate::db::schedules::{Ran, Run, Starter};
use crate::db::{Db, DbError};
use crate::domain::news::News;
use crate::domain::permission::{Ended, SignIn};
use crate::metrics::Metrics;
use crate::steps::{FIRST_STEP, Services};

/// What keeps them from being run.
static RUNNING: News = News::new();

/// What is needed for it.
pub(super) struct Schedules {
    pub(super) db: Db,
    pub(super) services: Arc<Services>,
    pub(super) notifier: Notifier,
    pub(super) metrics: Metrics,
    pub(super) sign_in: SignIn,
}

/// What is known of the sign-in settings, and when it was found out.
#[derive(Default)]
struct Looked {
    /// Whether no replica has newer settings than this one.
    newest: bool,
    settings_at: Option<Instant>,
    permissions_at: Option<Instant>,
}

impl Schedules {
    /// Runs what is due until `stop`.
    pub(super) async fn run(self, stop: CancellationToken) {
        let mut looked = Looked::default();
        loop {
            let wait = match self.run_due(&mut looked, &stop).await {
                Ok(wait) => wait,
                Err(error) => {
                    if RUNNING.are(&error) {
                        tracing::warn!(%error, "schedules could not be run; what is due stays due");
                    }
                    SCHEDULES_SWEEP
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Runs all that is due and nobody else is at; for how long there is nothing to do then, as far as is known now.
    async fn run_due(&self, looked: &mut Looked, stop: &CancellationToken) -> Result<Duration, DbError> {
        self.look_at_permissions(looked).await?;
        let starter = Starter { names: &self.services.names, first_step: FIRST_STEP };
        loop {
            // Asked first: mostly nothing is due, and then this is all that is asked.
            let next = self.db.next_schedule().await?.unwrap_or(TimeDelta::MAX);
            // Of what another replica is at, too: it is late all the same.
            self.metrics.schedules.set_overdue((-next).to_std().unwrap_or_default());
            let ran = if next <= TimeDelta::zero() && looked.newest && !stop.is_cancelled() {
                self.db.run_due_schedule(starter, &self.sign_in).await?
            } else {
                None
            };
            let Some(ran) = ran else {
                let soonest = if looked.newest { SCHEDULES_AGAIN } else { SCHEDULES_SWEEP };
                return Ok(next.to_std().unwrap_or_default().clamp(soonest, SCHEDULES_SWEEP));
            };
            self.tell(ran).await;
        }
    }

    /// Finds out whether the settings here are the newest, and if so stops what has no permission any more: also what is due next year.
    async fn look_at_permissions(&self, looked: &mut Looked) -> Result<(), DbError> {
        let is_due = |at: Option<Instant>, every: Duration| at.is_none_or(|at| at.elapsed() >= every);
        if is_due(looked.settings_at, SETTINGS_LOOK) {
            looked.newest = self.db.has_newest_sign_in(&self.sign_in.fingerprint()).await?;
            looked.settings_at = Some(Instant::now());
        }
        if looked.newest && is_due(looked.permissions_at, PERMISSIONS_SWEEP) {
            for stopped in self.db.stop_schedules_without_permission(&self.sign_in).await? {
                self.metrics.schedules.ran("failed");
                self.tell_stopped(&stopped.schedule, &stopped.ended);
            }
            looked.permissions_at = Some(Instant::now());
        }
        Ok(())
    }

    fn tell_stopped(&self, schedule: &str, ended: &Ended) {
        self.metrics.schedules.stopped(ended.code());
        tracing::warn!(
            schedule,
            code = ended.code(),
            reason = ended.message(),
            "schedule stopped, its permission has ended"
        );
    }

    async fn tell(&self, ran: Ran) {
        let (schedule, late_ms) = (ran.schedule, ran.late.num_milliseconds());
        if let Some(times) = ran.skipped {
            self.metrics.schedules.ran("skipped");
            tracing::warn!(
                schedule,
                since = times.due.to_rfc3339(),
                count = times.count,
                "missed while nobody was there, and skipped as it says"
            );
        }
        let Some(run) = ran.run else { return };
        self.metrics.schedules.ran(run.result());
        if let Some(ended) = ran.stopped {
            return self.tell_stopped(&schedule, &ended);
        }
        match run {
            Run::Started { deployment, superseded } => {
                tracing::info!(schedule, deployment, late_ms, "a schedule started a deployment");
                for id in std::iter::once(&deployment).chain(&superseded) {
                    self.notifier.events(id);
                    if let Err(error) = self.db.notify_work(id).await {
                        tracing::debug!(%error, "a notification was lost; the sweep finds the row");
                    }
                }
            }
            Run::Failed(failure) => {
                tracing::warn!(schedule, code = failure.code, reason = failure.message, "a schedule started nothing");
            }
        }
    }
}
