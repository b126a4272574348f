//! The task that takes slices from the shared buckets: one statement for all buckets with waiting calls. It ends when no call waits.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::Budgets;
use crate::domain::api_budget::{BudgetKey, SliceRequest};
use crate::domain::log_throttle::LogThrottle;

/// Time between two statements while calls wait: tokens come at the refill rate, and asking more often would not bring more.
const STARVED_INTERVAL: Duration = Duration::from_millis(500);

/// Shortest time between two statements: calls that begin to wait together are served together.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(20);

/// Time limit of a statement. After it, the replica uses the refill as if it were alone.
const TAKE_TIMEOUT: Duration = Duration::from_secs(1);

/// Number of buckets above which those that nothing uses are forgotten.
const MAX_IDLE_BUCKETS: usize = 1_000;

static ERRORS: LogThrottle = LogThrottle::new();

/// Takes slices until no call waits.
pub(super) async fn take(budgets: Budgets) {
    while let Some(requests) = next_requests(&budgets) {
        let granted = shared_slices(&budgets, &requests).await;
        if hand_out(&budgets, &requests, granted.as_deref()) {
            tokio::select! {
                () = sleep(STARVED_INTERVAL) => {}
                () = budgets.inner.wake.notified() => sleep(SHORTEST_INTERVAL).await,
            }
        } else {
            sleep(SHORTEST_INTERVAL).await;
        }
    }
}

/// Returns the requests of all buckets with waiting calls; none, and the task must end, when there are none.
fn next_requests(budgets: &Budgets) -> Option<Vec<SliceRequest>> {
    let mut state = budgets.inner.state.lock();
    let now = Instant::now();
    let mut open: Vec<BudgetKey> = state.open.drain().collect();
    // The order in which replicas lock rows: another one would let two of them wait for each other.
    open.sort_unstable();
    let mut requests = Vec::with_capacity(open.len());
    for key in open {
        if let Some(request) = state.buckets.get_mut(&key).and_then(|bucket| bucket.request(&key, now)) {
            state.open.insert(key);
            requests.push(request);
        }
    }
    if requests.is_empty() {
        state.taking = false;
        if state.buckets.len() > MAX_IDLE_BUCKETS {
            state.buckets.retain(|_, bucket| !bucket.is_idle(now));
        }
        return None;
    }
    Some(requests)
}

/// Asks the shared buckets; none when there are none or they do not answer.
async fn shared_slices(budgets: &Budgets, requests: &[SliceRequest]) -> Option<Vec<u32>> {
    let store = budgets.inner.store.get()?;
    let error = match timeout(TAKE_TIMEOUT, store.take(requests)).await {
        Ok(Ok(granted)) => return Some(granted),
        Ok(Err(error)) => error,
        Err(_) => "no answer in time".to_owned(),
    };
    if ERRORS.allows(&error) {
        tracing::warn!(error, "shared budgets of calls to AWS unreachable, using the refill rate alone");
    }
    None
}

/// Hands tokens to the waiting calls. Returns true when calls still wait.
fn hand_out(budgets: &Budgets, requests: &[SliceRequest], granted: Option<&[u32]>) -> bool {
    let exists = budgets.inner.store.get().is_some();
    let mut state = budgets.inner.state.lock();
    let now = Instant::now();
    let mut starved = false;
    for (at, request) in requests.iter().enumerate() {
        let Some(bucket) = state.buckets.get_mut(&request.key) else { continue };
        let tokens = match granted.and_then(|granted| granted.get(at)) {
            Some(tokens) => {
                bucket.shared_again();
                *tokens
            }
            None => bucket.unshared_slice(request, exists, now),
        };
        bucket.grant(tokens, now);
        starved |= bucket.is_starved();
    }
    starved
}
