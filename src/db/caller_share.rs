//! The database work that one caller may do concurrently, so that a caller with many requests delays only its own.
//!
//! A share limits the work of one class. Its holder acquires a permit before the work, and waits for the same caller's other work in order of
//! arrival. A request declares its share once ([`enter`]); every statement of that request on [`Class::Api`] then acquires a permit before it
//! competes for a connection of the class, so no handler can omit it, and none holds a permit while it waits for AWS or GitHub.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use crate::domain::connection_class::{CallerUsage, Class};

/// Longest wait of a statement without any other statement of the same caller ending: a caller whose statements hang has its answer within a second,
/// and a burst of short requests is served.
pub(super) const MAX_STALL: Duration = Duration::from_millis(800);

tokio::task_local! {
    /// The share of the request that this task handles, once its caller is known.
    static CURRENT: OnceLock<Arc<CallerShare>>;
}

/// Runs a request, which may declare its caller by [`enter`].
pub async fn with_share<F: Future>(request: F) -> F::Output {
    CURRENT.scope(OnceLock::new(), request).await
}

/// Declares the share of the request that this task handles. A second call, and one outside of a request, has no effect.
pub fn enter(share: Arc<CallerShare>) {
    let _ = CURRENT.try_with(|current| current.set(share));
}

/// The share of the request that this task handles.
pub(super) fn current() -> Option<Arc<CallerShare>> {
    CURRENT.try_with(|current| current.get().cloned()).ok().flatten()
}

/// The shares of all callers in a class of work. Cheap to clone.
#[derive(Clone, Debug)]
pub struct CallerShares {
    class: Class,
    limit: usize,
    callers: Arc<Mutex<HashMap<Arc<str>, Permits>>>,
    counters: Arc<Counters>,
}

/// The permits of one caller, and how many were returned so far.
#[derive(Clone, Debug)]
struct Permits {
    semaphore: Arc<Semaphore>,
    returned: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct Counters {
    waiting: AtomicUsize,
    rejected: AtomicU64,
}

impl CallerShares {
    /// Allows each caller `limit` pieces of work of `class` at a time.
    pub fn new(class: Class, limit: usize) -> Self {
        Self { class, limit, callers: Arc::default(), counters: Arc::default() }
    }

    /// Number of pieces of work that one caller may do at a time.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Returns the share of the caller that `key` identifies.
    pub fn share_of(&self, key: &str) -> Arc<CallerShare> {
        let mut callers = self.callers();
        let (key, permits) = if let Some((key, permits)) = callers.get_key_value(key) {
            (Arc::clone(key), permits.clone())
        } else {
            let semaphore = Arc::new(Semaphore::new(self.limit));
            (Arc::from(key), Permits { semaphore, returned: Arc::default() })
        };
        callers.entry(Arc::clone(&key)).or_insert_with(|| permits.clone());
        Arc::new(CallerShare { permits: Some(permits), key, shares: self.clone() })
    }

    /// Returns the numbers of waiting and rejected work.
    pub fn usage(&self) -> CallerUsage {
        CallerUsage {
            class: self.class,
            waiting: self.counters.waiting.load(Ordering::Relaxed),
            rejected: self.counters.rejected.load(Ordering::Relaxed),
        }
    }

    fn callers(&self) -> MutexGuard<'_, HashMap<Arc<str>, Permits>> {
        self.callers.lock()
    }
}

/// The share of one caller. Dropping the last share of a caller removes the caller's entry.
#[derive(Debug)]
pub struct CallerShare {
    /// None only during the drop.
    permits: Option<Permits>,
    key: Arc<str>,
    shares: CallerShares,
}

impl CallerShare {
    /// Number of pieces of work that the caller may do at a time.
    pub fn limit(&self) -> usize {
        self.shares.limit
    }

    /// Waits, in the order of arrival, until the caller has fewer permits than its limit.
    pub async fn acquire(self: Arc<Self>) -> CallerPermit {
        let permit = match self.permits.as_ref().map(|permits| Arc::clone(&permits.semaphore)) {
            Some(permits) => {
                if let Ok(permit) = Arc::clone(&permits).try_acquire_owned() {
                    Some(permit)
                } else {
                    let _waiting = Waiting::begin(&self.shares.counters.waiting);
                    // The semaphore is never closed.
                    permits.acquire_owned().await.ok()
                }
            }
            None => None,
        };
        CallerPermit { _permit: permit, share: self }
    }

    /// Waits as [`Self::acquire`], for at most `longest`, and for at most `stall` after the caller's last work ended. Returns none, and counts a
    /// rejection, after that.
    pub async fn acquire_within(self: Arc<Self>, stall: Duration, longest: Duration) -> Option<CallerPermit> {
        let deadline = Instant::now() + longest;
        let mut acquired = pin!(Arc::clone(&self).acquire());
        loop {
            let returned = self.returned();
            let wait = stall.min(deadline.saturating_duration_since(Instant::now()));
            if let Ok(permit) = timeout(wait, &mut acquired).await {
                return Some(permit);
            }
            if self.returned() == returned || Instant::now() >= deadline {
                self.shares.counters.rejected.fetch_add(1, Ordering::Relaxed);
                return None;
            }
        }
    }

    /// Number of pieces of the caller's work that have ended.
    fn returned(&self) -> u64 {
        self.permits.as_ref().map_or(0, |permits| permits.returned.load(Ordering::Relaxed))
    }
}

impl Drop for CallerShare {
    fn drop(&mut self) {
        let mut callers = self.shares.callers();
        self.permits = None;
        // No share can be created under the lock, so a count of one means that only the map holds the semaphore.
        if callers.get(&self.key).is_some_and(|permits| Arc::strong_count(&permits.semaphore) == 1) {
            callers.remove(&self.key);
        }
    }
}

/// Permission for one piece of work.
#[derive(Debug)]
pub struct CallerPermit {
    // Dropped before the share, whose drop removes the caller's entry only when no permit is left.
    _permit: Option<OwnedSemaphorePermit>,
    share: Arc<CallerShare>,
}

impl Drop for CallerPermit {
    fn drop(&mut self) {
        if let Some(permits) = &self.share.permits {
            permits.returned.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A waiting piece of work; counted until this is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn begin(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn callers_wait_for_their_own_work_and_not_for_each_other() {
        let shares = CallerShares::new(Class::Api, 1);
        let first = shares.share_of("one").acquire().await;
        let mut second = Box::pin(shares.share_of("one").acquire());
        assert!(second.as_mut().now_or_never().is_none());
        assert_eq!(shares.usage().waiting, 1);
        assert!(shares.share_of("other").acquire().now_or_never().is_some());
        drop(first);
        assert!(second.now_or_never().is_some());
        assert_eq!(shares.usage().waiting, 0);
    }

    #[tokio::test]
    async fn rejected_after_the_longest_wait() {
        let shares = CallerShares::new(Class::Api, 1);
        let _first = shares.share_of("one").acquire().await;
        let (stall, longest) = (Duration::from_millis(10), Duration::from_mins(1));
        assert!(shares.share_of("one").acquire_within(stall, longest).await.is_none());
        assert_eq!((shares.usage().waiting, shares.usage().rejected), (0, 1));
    }

    #[tokio::test]
    async fn burst_waits_while_work_of_the_caller_ends() {
        let shares = CallerShares::new(Class::Api, 1);
        let (stall, longest) = (Duration::from_secs(2), Duration::from_mins(1));
        let burst = (0..6).map(|_| async {
            let _permit = shares.share_of("one").acquire_within(stall, longest).await?;
            tokio::time::sleep(Duration::from_millis(500)).await;
            Some(())
        });
        // The last one waits for 2.5 seconds.
        assert!(futures_util::future::join_all(burst).await.iter().all(Option::is_some));
        assert_eq!(shares.usage().rejected, 0);
    }

    #[tokio::test]
    async fn callers_without_work_are_forgotten() {
        let shares = CallerShares::new(Class::Api, 1);
        let permit = shares.share_of("one").acquire().await;
        assert_eq!(shares.callers().len(), 1);
        drop(permit);
        assert!(shares.callers().is_empty());
    }

    #[tokio::test]
    async fn request_has_at_most_one_share() {
        let shares = CallerShares::new(Class::Api, 1);
        enter(shares.share_of("outside"));
        assert!(current().is_none());
        let inside = async {
            assert!(current().is_none());
            enter(shares.share_of("one"));
            enter(shares.share_of("other"));
            current().map(|share| share.key.to_string())
        };
        assert_eq!(with_share(inside).await.as_deref(), Some("one"));
        assert!(shares.callers().is_empty());
    }
}
