//! Starts due schedules. Every replica polls; one of them handles each due time, in one transaction (`commands/schedules`). A time that a
//! dying process leaves unhandled stays due, and the next replica that polls handles it.
//!
//! A schedule runs only while the permission of its owner exists (`domain/permission`), which depends on the settings of the server. While a
//! rollout changes them, only the replicas with the newest settings run schedules.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::every::{Next, Period, Periodic, Trigger};
use crate::commands::deploy::Starter;
use crate::commands::schedules::retime::{RetimedSchedule, retime_outdated};
use crate::commands::schedules::run_due::{ProcessedSchedule, ScheduledRun, run_due};
use crate::commands::schedules::stop::stop_without_permission;
use crate::db::{Db, DbError};
use crate::domain::cron::ZONE_EDITION;
use crate::domain::permission::{PermissionEnd, SignIn};
use crate::metrics::Metrics;
use crate::reconcile::Notifier;
use crate::steps::{FIRST_STEP, Services};

/// Longest time between two polls for due schedules: a schedule that was just created may start that late, or ten seconds late when it is the only
/// active one.
const MAX_WAIT: Duration = Duration::from_secs(5);

pub(super) const PERIOD: Period = Period::Interval(MAX_WAIT);

/// Shortest time between two polls for due schedules: another replica is starting the due schedule.
const MIN_WAIT: Duration = Duration::from_millis(200);

/// Interval between two checks that this replica's sign-in settings are the newest. Well below the time after which other replicas' settings
/// expire.
const SETTINGS_CHECK_INTERVAL: Duration = Duration::from_secs(10);

/// Interval between two checks of the settings while no schedule is active. Below the time after which they expire for other replicas.
const SLEEP: Duration = Duration::from_secs(20);

/// Interval between two checks for schedules whose permission has ended before they are due, or whose next time is outdated.
const PERMISSIONS_CHECK_INTERVAL: Duration = Duration::from_secs(30);

/// The schedules of all replicas, as one replica sees them.
pub(super) struct Schedules {
    db: Db,
    services: Arc<Services>,
    notifier: Notifier,
    metrics: Metrics,
    sign_in: SignIn,
    checked: Checked,
    /// The periodic poll's report that a schedule is active. Only read while this task sleeps.
    active: watch::Receiver<bool>,
    /// No schedule was active at the last run.
    asleep: bool,
    /// Cancelled when no more schedules may start.
    stop: CancellationToken,
}

/// Results and times of the last checks of sign-in settings and permissions.
#[derive(Default)]
struct Checked {
    /// True when no replica has newer settings than this one.
    newest: bool,
    settings_at: Option<Instant>,
    permissions_at: Option<Instant>,
}

impl Schedules {
    pub(super) fn new(
        db: Db,
        services: Arc<Services>,
        notifier: Notifier,
        metrics: Metrics,
        sign_in: SignIn,
        active: watch::Receiver<bool>,
        stop: CancellationToken,
    ) -> Self {
        let (checked, asleep) = (Checked::default(), false);
        Self { db, services, notifier, metrics, sign_in, checked, active, asleep, stop }
    }

    /// Runs all due schedules that no other replica is handling. Returns the time until the next poll.
    async fn run_due(&mut self) -> Result<Duration, DbError> {
        self.check_permissions().await?;
        let starter = Starter { names: &self.services.names, first_step: FIRST_STEP };
        loop {
            // Queried first: mostly nothing is due, and then this is the only query.
            let Some(next) = self.db.next_schedule().await? else {
                self.metrics.schedules.set_overdue(Duration::ZERO);
                self.asleep = true;
                self.active.mark_unchanged();
                return Ok(SLEEP);
            };
            self.asleep = false;
            // Includes a schedule that another replica is handling: it is late nevertheless.
            self.metrics.schedules.set_overdue((-next).to_std().unwrap_or_default());
            let ran = if next <= TimeDelta::zero() && self.checked.newest && !self.stop.is_cancelled() {
                run_due(&self.db, starter, &self.sign_in).await?
            } else {
                None
            };
            let Some(ran) = ran else {
                let soonest = if self.checked.newest { MIN_WAIT } else { MAX_WAIT };
                return Ok(next.to_std().unwrap_or_default().clamp(soonest, MAX_WAIT));
            };
            self.report(ran).await;
        }
    }

    /// Checks that this replica's settings are the newest, and records that they are in use.
    async fn check_settings(&mut self) -> Result<(), DbError> {
        if is_due(self.checked.settings_at, SETTINGS_CHECK_INTERVAL) {
            self.checked.newest = self.db.has_newest_sign_in(&self.sign_in.fingerprint()).await?;
            self.checked.settings_at = Some(Instant::now());
        }
        Ok(())
    }

    /// Stops all schedules whose permission has ended, however late they are due, if this replica's settings are the newest.
    async fn check_permissions(&mut self) -> Result<(), DbError> {
        self.check_settings().await?;
        if self.checked.newest && is_due(self.checked.permissions_at, PERMISSIONS_CHECK_INTERVAL) {
            for stopped in stop_without_permission(&self.db, &self.sign_in).await? {
                self.metrics.schedules.ran("failed");
                self.report_stopped(&stopped.schedule, &stopped.ended);
            }
            self.checked.permissions_at = Some(Instant::now());
            self.retime().await?;
        }
        Ok(())
    }

    /// Computes next times of an older edition of the time zone database again.
    async fn retime(&self) -> Result<(), DbError> {
        for RetimedSchedule { schedule, before, next } in retime_outdated(&self.db, ZONE_EDITION).await? {
            tracing::info!(schedule, %before, next = ?next, edition = ZONE_EDITION, "schedule's next time changed with the time zone database");
        }
        Ok(())
    }

    fn report_stopped(&self, schedule: &str, ended: &PermissionEnd) {
        self.metrics.schedules.stopped(ended.code());
        tracing::warn!(
            schedule,
            code = ended.code(),
            reason = %ended.message(),
            "schedule stopped, its permission has ended"
        );
    }

    async fn report(&self, ran: ProcessedSchedule) {
        let (schedule, late_ms) = (ran.schedule, ran.late.num_milliseconds());
        if let Some(times) = ran.skipped {
            self.metrics.schedules.ran("skipped");
            tracing::warn!(
                schedule,
                since = times.due.to_rfc3339(),
                count = times.count,
                "schedule missed its times while no replica ran, skipped them as configured"
            );
        }
        let Some(run) = ran.run else { return };
        self.metrics.schedules.ran(run.result());
        if let Some(ended) = ran.stopped {
            return self.report_stopped(&schedule, &ended);
        }
        match run {
            ScheduledRun::Started { deployment, superseded } => {
                tracing::info!(schedule, deployment, late_ms, "schedule started a deployment");
                for id in std::iter::once(&deployment).chain(&superseded) {
                    self.notifier.events(id);
                    if let Err(error) = self.db.notify_work(id).await {
                        tracing::debug!(%error, "notification of work lost, the sweep finds the row");
                    }
                }
            }
            ScheduledRun::Failed(failure) => {
                tracing::warn!(
                    schedule,
                    code = failure.code,
                    reason = %failure.message,
                    "schedule did not start a deployment"
                );
            }
        }
    }
}

fn is_due(at: Option<Instant>, every: Duration) -> bool {
    at.is_none_or(|at| at.elapsed() >= every)
}

impl Periodic for Schedules {
    const NAME: &'static str = "schedules";
    const ON_ERROR: &'static str = "schedules not run, due ones stay due";

    /// Completes when a schedule is active while this task sleeps.
    async fn woken(&self) {
        let mut active = self.active.clone();
        while self.asleep && active.changed().await.is_ok() {
            if *active.borrow_and_update() {
                return;
            }
        }
        std::future::pending::<()>().await;
    }

    async fn run(&mut self, trigger: Trigger) -> Result<Next, DbError> {
        if self.asleep && trigger == Trigger::Period && !*self.active.borrow() {
            self.check_settings().await?;
            return Ok(Next::After(SLEEP));
        }
        Ok(Next::After(self.run_due().await?))
    }
}
