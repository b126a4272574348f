//! Budgets of calls to AWS: each request takes a token of its account, region and call from a bucket that all replicas share.
//!
//! Every request passes [`connector`], each retry of the SDK included. A replica takes slices of several tokens, so that most requests cause no statement;
//! requests that find no token wait by [`Priority`] and in order of arrival, and one task ([`take`]) takes the next slice for all of them. A replica without
//! requests makes no statement, and the slice of a replica that dies is lost: it is at most what the bucket refills in two seconds.
//!
//! While the shared buckets are unreachable, each replica uses the refill of a bucket as if it were alone (decision 0059): a
//! replica without the database stops within its lease anyway.

mod bucket;
mod connector;
mod context;
mod scope;
mod take;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::domain::api_budget::{BudgetKey, BudgetStore};
use crate::domain::api_quota::{ApiQuota, ApiQuotas};
use crate::metrics::AwsCalls;
use bucket::LocalBucket;
pub(super) use connector::{BudgetExhausted, limit};
pub use context::{BudgetWaits, with_priority};
pub(super) use context::{prepaid, priority};
pub(super) use scope::{ControllerAccount, Scope};

/// Order in which waiting calls get tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// A user waits, or the time limit is seconds: the switch, a cancellation, the search for the execution.
    Urgent = 0,
    /// Calls of steps that no time limit presses.
    #[default]
    Normal = 1,
    /// A poll that has not begun, and may come later.
    Poll = 2,
}

impl Priority {
    const COUNT: usize = 3;
}

/// The budgets of one replica. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Budgets {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    quotas: ApiQuotas,
    calls: AwsCalls,
    store: OnceLock<Arc<dyn BudgetStore>>,
    state: Mutex<State>,
    /// Notified when a call that goes before polls begins to wait.
    wake: Notify,
}

#[derive(Debug, Default)]
struct State {
    buckets: HashMap<BudgetKey, LocalBucket>,
    /// Buckets for which calls wait, or that AWS throttled.
    open: HashSet<BudgetKey>,
    /// A task takes slices.
    taking: bool,
}

impl Budgets {
    pub(super) fn new(quotas: ApiQuotas, calls: AwsCalls) -> Self {
        let (store, state, wake) = (OnceLock::new(), Mutex::default(), Notify::new());
        Self { inner: Arc::new(Inner { quotas, calls, store, state, wake }) }
    }

    /// Shares the buckets with other replicas from now on. A second call has no effect.
    pub(super) fn share(&self, store: Arc<dyn BudgetStore>) {
        let _ = self.inner.store.set(store);
    }

    /// Waits for a token. Dropping the future stops waiting.
    async fn acquire(&self, key: BudgetKey, quota: ApiQuota, priority: Priority) {
        let given = {
            let mut state = self.inner.state.lock();
            let now = Instant::now();
            let bucket = state.buckets.entry(key.clone()).or_insert_with(|| LocalBucket::new(quota, now));
            if bucket.try_take(priority, now) {
                return;
            }
            let given = bucket.wait(priority);
            state.open.insert(key);
            self.ensure_taking(&mut state);
            given
        };
        if priority != Priority::Poll {
            self.inner.wake.notify_one();
        }
        // The sender is dropped only with the budgets themselves: then nothing limits the call any more.
        let _ = given.await;
    }

    /// Notes that AWS throttled a call.
    fn throttled(&self, key: BudgetKey, quota: ApiQuota) {
        let mut state = self.inner.state.lock();
        let now = Instant::now();
        state.buckets.entry(key.clone()).or_insert_with(|| LocalBucket::new(quota, now)).throttled();
        state.open.insert(key);
        self.ensure_taking(&mut state);
    }

    fn ensure_taking(&self, state: &mut State) {
        if !std::mem::replace(&mut state.taking, true) {
            tokio::spawn(take::take(self.clone()));
        }
    }
}
