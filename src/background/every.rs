//! Drives one periodic task: its period, its wake-ups, its end, and log lines about a lasting error.

use std::future::{Future, pending};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Interval, MissedTickBehavior};
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};
use tokio_util::sync::CancellationToken;

use crate::db::DbError;
use crate::domain::log_throttle::LogThrottle;

/// The regular times of a task.
#[derive(Clone, Copy, Debug)]
pub(super) enum Period {
    /// Immediately, and then at this interval. A run that takes longer delays the next one.
    Interval(Duration),
    /// At the times of a cron expression with seconds, in UTC. Ticks during a run are merged into one.
    Cron(&'static str),
}

/// The reason of one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trigger {
    /// The period has passed.
    Period,
    /// An event that [`Periodic::woken`] waits for has happened.
    Woken,
}

/// The time of the next run.
pub(super) enum Next {
    /// The next regular one.
    Period,
    /// After this time, in place of the interval.
    After(Duration),
}

/// A task that a replica repeats.
pub(super) trait Periodic: Send + Sync {
    /// The task in log lines.
    const NAME: &'static str;
    /// Log line about a failed run: the effect of the failure.
    const ON_ERROR: &'static str;

    /// Completes when the task must run before its period has passed. Never, unless a task defines it.
    fn woken(&self) -> impl Future<Output = ()> + Send {
        pending()
    }

    /// Runs once. An error is logged, and the task runs again after a full period.
    fn run(&mut self, trigger: Trigger) -> impl Future<Output = Result<Next, DbError>> + Send;
}

/// Runs `task` every `period`, and when it is woken, until `stop`. One run ends before the next one starts.
pub(super) async fn every<T: Periodic>(period: Period, stop: CancellationToken, mut task: T) {
    let mut clock = match Clock::start(period).await {
        Ok(clock) => clock,
        Err(error) => return tracing::error!(%error, "{} not scheduled", T::NAME),
    };
    let failures = LogThrottle::new();
    loop {
        let trigger = tokio::select! {
            () = clock.tick() => Trigger::Period,
            () = task.woken() => Trigger::Woken,
            () = stop.cancelled() => break,
        };
        match task.run(trigger).await {
            Ok(Next::Period) => {}
            Ok(Next::After(wait)) => clock.postpone(Some(wait)),
            Err(error) => {
                warn_throttled(&failures, &error, T::ON_ERROR);
                clock.postpone(None);
            }
        }
    }
    if let Err(error) = clock.stop().await {
        tracing::debug!(%error, "{} did not end cleanly", T::NAME);
    }
}

/// Logs that a task failed: an error that lasts is logged once a minute.
pub(super) fn warn_throttled(throttle: &LogThrottle, error: &DbError, message: &'static str) {
    if throttle.allows(error) {
        tracing::warn!(%error, "{message}");
    }
}

/// Completes [`Self::tick`] at the times of a [`Period`].
enum Clock {
    Interval(Interval),
    Cron { scheduler: JobScheduler, due: Arc<Notify> },
}

impl Clock {
    async fn start(period: Period) -> Result<Self, JobSchedulerError> {
        match period {
            Period::Interval(length) => {
                let mut interval = tokio::time::interval(length);
                interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
                Ok(Self::Interval(interval))
            }
            Period::Cron(expression) => {
                let (scheduler, due) = (JobScheduler::new().await?, Arc::new(Notify::new()));
                let notified = Arc::clone(&due);
                scheduler.add(Job::new(expression, move |_, _| notified.notify_one())?).await?;
                scheduler.start().await?;
                Ok(Self::Cron { scheduler, due })
            }
        }
    }

    async fn tick(&mut self) {
        match self {
            Self::Interval(interval) => _ = interval.tick().await,
            Self::Cron { due, .. } => due.notified().await,
        }
    }

    /// Sets the next tick of an interval to `wait` from now, or to a full period. The times of a cron expression stay.
    fn postpone(&mut self, wait: Option<Duration>) {
        let Self::Interval(interval) = self else { return };
        match wait {
            Some(wait) => interval.reset_after(wait),
            None => interval.reset(),
        }
    }

    async fn stop(self) -> Result<(), JobSchedulerError> {
        match self {
            Self::Interval(_) => Ok(()),
            Self::Cron { mut scheduler, .. } => scheduler.shutdown().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc;

    const HOUR: Period = Period::Interval(Duration::from_hours(1));

    struct Probe {
        wake: Arc<Notify>,
        runs: mpsc::UnboundedSender<Trigger>,
        /// Times of the next runs.
        waits: Vec<Duration>,
    }

    impl Periodic for Probe {
        const NAME: &'static str = "probe";
        const ON_ERROR: &'static str = "probe failed";

        async fn woken(&self) {
            self.wake.notified().await;
        }

        async fn run(&mut self, trigger: Trigger) -> Result<Next, DbError> {
            let _ = self.runs.send(trigger);
            Ok(self.waits.pop().map_or(Next::Period, Next::After))
        }
    }

    #[tokio::test]
    async fn runs_immediately_when_woken_and_until_stopped() {
        let (wake, stop, (runs, mut ran)) =
            (Arc::new(Notify::new()), CancellationToken::new(), mpsc::unbounded_channel());
        let task = tokio::spawn(every(HOUR, stop.clone(), Probe { wake: Arc::clone(&wake), runs, waits: Vec::new() }));
        assert_eq!(ran.recv().await, Some(Trigger::Period));
        wake.notify_one();
        assert_eq!(ran.recv().await, Some(Trigger::Woken));
        stop.cancel();
        task.await.unwrap();
        assert_eq!(ran.recv().await, None);
    }

    #[tokio::test]
    async fn task_sets_its_next_time() {
        let (stop, (runs, mut ran)) = (CancellationToken::new(), mpsc::unbounded_channel());
        let waits = vec![Duration::from_millis(2), Duration::from_millis(1)];
        let task = tokio::spawn(every(HOUR, stop.clone(), Probe { wake: Arc::default(), runs, waits }));
        for _ in 0..3 {
            assert_eq!(ran.recv().await, Some(Trigger::Period));
        }
        stop.cancel();
        task.await.unwrap();
    }
}
