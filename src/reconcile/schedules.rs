//! Schedules whose time has come. Every replica looks; each time is dealt with by one of them, in one transaction (`db/schedules`). What a process
//! that dies leaves undone is due still, for whoever looks next.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use tokio_util::sync::CancellationToken;

use super::limits::{SCHEDULES_AGAIN, SCHEDULES_SWEEP};
use super::notifier::Notifier;
use crate::db::schedules::{Ran, Run, Starter};
use crate::db::{Db, DbError};
use crate::domain::news::News;
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
}

impl Schedules {
    /// Runs what is due until `stop`.
    pub(super) async fn run(self, stop: CancellationToken) {
        loop {
            let wait = match self.run_due(&stop).await {
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
    async fn run_due(&self, stop: &CancellationToken) -> Result<Duration, DbError> {
        let starter = Starter { names: &self.services.names, first_step: FIRST_STEP };
        loop {
            // Asked first: mostly nothing is due, and then this is all that is asked.
            let next = self.db.next_schedule().await?.unwrap_or(TimeDelta::MAX);
            // Of what another replica is at, too: it is late all the same.
            self.metrics.schedules.set_overdue((-next).to_std().unwrap_or_default());
            let ran = if next <= TimeDelta::zero() && !stop.is_cancelled() {
                self.db.run_due_schedule(starter).await?
            } else {
                None
            };
            let Some(ran) = ran else {
                return Ok(next.to_std().unwrap_or_default().clamp(SCHEDULES_AGAIN, SCHEDULES_SWEEP));
            };
            self.tell(ran).await;
        }
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
