//! What a task's calls to AWS have in common: their priority, tokens taken in advance, and the time that they waited for tokens.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::Priority;

tokio::task_local! {
    static CONTEXT: Context;
    /// Set while the next request of this task has its token already.
    static PREPAID: Cell<bool>;
}

#[derive(Debug)]
struct Context {
    priority: Priority,
    waits: BudgetWaits,
}

/// Time for which calls waited for tokens. Clones share the value.
#[derive(Clone, Debug, Default)]
pub struct BudgetWaits {
    inner: Arc<Mutex<Waits>>,
}

#[derive(Debug, Default)]
struct Waits {
    ended: Duration,
    /// Calls that wait now, and since when at least one does.
    now: Option<(u32, Instant)>,
}

impl BudgetWaits {
    /// Returns the time so far in which at least one call waited.
    pub fn total(&self) -> Duration {
        let waits = self.inner.lock();
        waits.ended + waits.now.map_or(Duration::ZERO, |(_, since)| since.elapsed())
    }

    fn begin(&self) -> Waiting {
        let mut waits = self.inner.lock();
        let (count, since) = waits.now.unwrap_or((0, Instant::now()));
        waits.now = Some((count + 1, since));
        Waiting { waits: self.clone() }
    }
}

/// A waiting call; dropping it ends the wait.
struct Waiting {
    waits: BudgetWaits,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut waits = self.waits.inner.lock();
        let now = waits.now;
        waits.now = match now {
            Some((count, since)) if count > 1 => Some((count - 1, since)),
            Some((_, since)) => {
                waits.ended += since.elapsed();
                None
            }
            None => None,
        };
    }
}

/// Runs `work`, whose calls to AWS have this priority. `waits` counts the time that they wait for tokens.
pub async fn with_priority<F: Future>(priority: Priority, waits: BudgetWaits, work: F) -> F::Output {
    CONTEXT.scope(Context { priority, waits }, work).await
}

/// Sends one request whose token was taken in advance.
pub(in crate::clients::aws) async fn prepaid<F: Future>(request: F) -> F::Output {
    PREPAID.scope(Cell::new(true), request).await
}

/// Uses the token taken in advance, if there is one.
pub(super) fn use_prepaid() -> bool {
    PREPAID.try_with(|prepaid| prepaid.replace(false)).unwrap_or(false)
}

/// Returns the priority of this task's calls.
pub(in crate::clients::aws) fn priority() -> Priority {
    CONTEXT.try_with(|context| context.priority).unwrap_or_default()
}

/// Waits for a token, and counts the time.
pub(super) async fn counted<F: Future>(wait: F) -> F::Output {
    let _waiting = CONTEXT.try_with(|context| context.waits.begin()).ok();
    wait.await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn counts_overlapping_waits_once() {
        let waits = BudgetWaits::default();
        let work = async {
            assert_eq!(priority(), Priority::Urgent);
            let wait = |millis| counted(tokio::time::sleep(Duration::from_millis(millis)));
            tokio::join!(wait(100), wait(300));
        };
        with_priority(Priority::Urgent, waits.clone(), work).await;
        let total = waits.total();
        assert!(total >= Duration::from_millis(300) && total < Duration::from_millis(400), "{total:?}");
        assert_eq!(priority(), Priority::Normal);
    }

    #[tokio::test]
    async fn token_in_advance_is_used_once() {
        assert!(!use_prepaid());
        prepaid(async {
            assert!(use_prepaid());
            assert!(!use_prepaid());
        })
        .await;
    }
}
