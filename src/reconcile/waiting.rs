//! Waits of the driver, and what ends them early.

use std::sync::LazyLock;
use std::time::Duration;

use tokio::time::Instant;

use super::driver::Driver;
use super::step_progress::StepProgress;
use crate::steps::Step;

impl Driver {
    /// Sleeps until the next iteration, or until something happens before. Returns false at a shutdown.
    pub(super) async fn sleep(&self, duration: Duration, step: &Step, progress: &mut StepProgress) -> bool {
        let mut due = in_step(Instant::now() + duration, duration);
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

/// Grid of due times. Polls that are due within one slot begin together: thousands a second then wake a processor hundreds of times instead.
const SLOT: Duration = Duration::from_millis(10);

/// Shortest wait that is rounded, so that no wait grows by more than a tenth.
const SHORTEST_ROUNDED: Duration = Duration::from_millis(100);

/// Rounds the end of a wait up to the grid of this process.
fn in_step(due: Instant, wait: Duration) -> Instant {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    if wait < SHORTEST_ROUNDED {
        return due;
    }
    let into_slot = due.saturating_duration_since(*START).as_nanos() % SLOT.as_nanos();
    // Always below the length of a slot.
    let into_slot = Duration::from_nanos(u64::try_from(into_slot).unwrap_or_default());
    due + SLOT.saturating_sub(into_slot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_that_end_within_a_slot_end_together() {
        let now = Instant::now();
        let second = Duration::from_secs(1);
        let due: Vec<Instant> = (0..100).map(|ms| in_step(now + second + Duration::from_millis(ms), second)).collect();
        let mut distinct = due.clone();
        distinct.dedup();
        assert!(distinct.len() <= 11, "{}", distinct.len());
        for (ms, due) in (0..).zip(&due) {
            let exact = now + second + Duration::from_millis(ms);
            assert!(*due >= exact && *due - exact <= SLOT);
        }
        let short = Duration::from_millis(99);
        assert_eq!(in_step(now + short, short), now + short);
    }
}
