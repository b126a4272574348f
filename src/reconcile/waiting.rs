//! Waits of the driver, and what ends them early.

use std::time::Duration;

use tokio::time::Instant;

use super::driver::Driver;
use super::step_progress::StepProgress;
use crate::steps::Step;

impl Driver {
    /// Sleeps until the next iteration, or until something happens before. Returns false at a shutdown.
    pub(super) async fn sleep(&self, duration: Duration, step: &Step, progress: &mut StepProgress) -> bool {
        let mut due = Instant::now() + duration;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(due) => {
                    self.metrics.record_lateness(due.elapsed());
                    return true;
                }
                () = self.woken.notified() => {}
                () = self.cancel_requested(Some(step)) => return true,
                () = self.stop.cancelled() => return false,
            }
            let now = Instant::now();
            // A step that failed keeps its delay before the next try.
            let early = (progress.failures == 0).then(|| progress.pacing.wake(now)).flatten();
            due = early.map_or(due, |early| due.min(early.max(now)));
        }
    }

    /// Completes when cancellation is requested; never while the cancel step itself runs.
    pub(super) async fn cancel_requested(&self, step: Option<&Step>) {
        if step.is_some_and(|step| step.cancelled().is_none()) {
            std::future::pending::<()>().await;
        }
        self.cancel_requested.cancelled().await;
    }
}
