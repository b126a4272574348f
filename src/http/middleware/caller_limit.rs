//! Limits the concurrent expensive work of each caller. Further requests of the same caller wait for a moment; callers do not wait for each
//! other.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

use crate::domain::principal::{Caller, Principal};
use crate::http::middleware::error::AdmissionError;
use crate::metrics::ReconcileMetrics;

/// Time that a request waits for the caller's other requests.
const MAX_WAIT: Duration = Duration::from_millis(400);

/// Lateness of the reconciler up to which nothing yields to it. Undisturbed, 99 of 100 iterations start within it.
const ON_TIME: Duration = Duration::from_millis(15);

/// Longest pause for the reconciler. A caller with a thousand streams still reads a page for each within the keep-alive interval of 15 s:
/// a stream that waits here sends no keep-alive.
const MAX_PAUSE: Duration = Duration::from_millis(10);

/// Concurrency limit per caller. Cheap to clone.
#[derive(Clone, Debug)]
pub struct CallerLimit {
    limit: usize,
    callers: Arc<Mutex<HashMap<String, Arc<Semaphore>>>>,
    /// The reconciler that this work yields to.
    reconciler: Option<ReconcileMetrics>,
}

impl CallerLimit {
    /// Allows each caller `limit` requests at a time.
    pub fn new(limit: usize) -> Self {
        Self { limit, callers: Arc::default(), reconciler: None }
    }

    /// Makes the shares pause before their work while the reconciler is late.
    #[must_use]
    pub fn yielding_to(mut self, reconciler: ReconcileMetrics) -> Self {
        self.reconciler = Some(reconciler);
        self
    }

    /// Waits until `caller` has fewer than `limit` requests running.
    ///
    /// # Errors
    /// [`AdmissionError::TooManyOfCaller`] after 400 ms.
    pub async fn acquire(&self, caller: &Caller) -> Result<CallerPermit, AdmissionError> {
        let share = self.share_of(&caller.principal, caller.address);
        match timeout(MAX_WAIT, share.acquire()).await {
            Ok(permit) => Ok(CallerPermit { _permit: permit, _share: share }),
            Err(_) => Err(AdmissionError::TooManyOfCaller { limit: self.limit }),
        }
    }

    /// Returns the share of a caller, for work that acquires it repeatedly.
    pub fn share_of(&self, principal: &Principal, address: IpAddr) -> CallerShare {
        // Without authentication, callers are distinguished by their address.
        let key = principal.known_subject().map_or_else(|| address.to_string(), str::to_owned);
        let requests =
            Arc::clone(self.callers().entry(key.clone()).or_insert_with(|| Arc::new(Semaphore::new(self.limit))));
        CallerShare { requests: Some(requests), key: key.into(), limit: self.clone() }
    }

    fn callers(&self) -> MutexGuard<'_, HashMap<String, Arc<Semaphore>>> {
        self.callers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Permission for one running request.
#[derive(Debug)]
pub struct CallerPermit {
    // Dropped before the share, whose drop removes the caller's entry only when no permit is left.
    _permit: Option<OwnedSemaphorePermit>,
    _share: CallerShare,
}

/// The work that one caller may do concurrently. Dropping the last share of a caller removes the caller's entry.
#[derive(Debug)]
pub struct CallerShare {
    /// None only during the drop.
    requests: Option<Arc<Semaphore>>,
    key: Box<str>,
    limit: CallerLimit,
}

impl CallerShare {
    /// Waits, in the order of arrival, until the caller has fewer than `limit` permits.
    pub async fn acquire(&self) -> Option<OwnedSemaphorePermit> {
        // The semaphore is never closed, and only a dropped share has none.
        let permit = Arc::clone(self.requests.as_ref()?).acquire_owned().await.ok();
        let late = self.limit.reconciler.as_ref().map(ReconcileMetrics::recent_lateness).unwrap_or_default();
        // With the permit held, so that the caller's other work pauses as well.
        if late > ON_TIME {
            sleep(late.min(MAX_PAUSE)).await;
        }
        permit
    }
}

impl Drop for CallerShare {
    fn drop(&mut self) {
        let mut callers = self.limit.callers();
        self.requests = None;
        // No request can start under the lock, so a count of one means that only the map holds the semaphore.
        if callers.get(&*self.key).is_some_and(|requests| Arc::strong_count(requests) == 1) {
            callers.remove(&*self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn callers_wait_for_their_own_work_and_not_for_each_other() {
        let limit = CallerLimit::new(1);
        let share = |last| limit.share_of(&Caller::local().principal, IpAddr::from([127, 0, 0, last]));
        let (one, same, other) = (share(1), share(1), share(2));
        let first = one.acquire().await.unwrap();
        let mut second = Box::pin(same.acquire());
        assert!(second.as_mut().now_or_never().is_none());
        assert!(other.acquire().now_or_never().flatten().is_some());
        drop(first);
        assert!(second.now_or_never().flatten().is_some());
    }

    #[tokio::test]
    async fn callers_without_work_are_forgotten() {
        let limit = CallerLimit::new(1);
        let share = limit.share_of(&Caller::local().principal, IpAddr::from([127, 0, 0, 1]));
        let permit = share.acquire().await;
        drop(permit);
        assert_eq!(limit.callers().len(), 1);
        drop(share);
        assert!(limit.callers().is_empty());
    }
}
