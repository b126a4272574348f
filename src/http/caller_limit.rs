//! How many expensive requests of one caller are answered at once: the others of the same caller wait for a moment, and callers do not wait for
//! each other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::error::ApiError;
use crate::domain::principal::Caller;

/// How long a request waits for the caller's others.
const PATIENCE: Duration = Duration::from_secs(1);

/// The limit: cheap to clone.
#[derive(Clone, Debug)]
pub struct CallerLimit {
    limit: usize,
    callers: Arc<Mutex<HashMap<String, Arc<Semaphore>>>>,
}

impl CallerLimit {
    /// At most `limit` at once of each caller.
    pub fn new(limit: usize) -> Self {
        Self { limit, callers: Arc::default() }
    }

    /// Waits until `caller` has fewer than the limit under way.
    ///
    /// # Errors
    /// [`ApiError::TooManyOfCaller`] when that takes too long.
    pub async fn acquire(&self, caller: &Caller) -> Result<CallerPermit, ApiError> {
        // Without authentication, callers are told apart by where they are.
        let key = caller.principal.known_subject().map_or_else(|| caller.address.to_string(), str::to_owned);
        let requests =
            Arc::clone(self.callers().entry(key.clone()).or_insert_with(|| Arc::new(Semaphore::new(self.limit))));
        // Made before the wait: a request that is dropped meanwhile is forgotten as well.
        let mut place = CallerPermit { permit: None, requests: Some(requests), key, limit: self.clone() };
        let Some(requests) = place.requests.clone() else { return Ok(place) };
        match timeout(PATIENCE, requests.acquire_owned()).await {
            Ok(Ok(permit)) => place.permit = Some(permit),
            Ok(Err(_)) | Err(_) => return Err(ApiError::TooManyOfCaller { limit: self.limit }),
        }
        Ok(place)
    }

    fn callers(&self) -> MutexGuard<'_, HashMap<String, Arc<Semaphore>>> {
        self.callers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that is under way. The caller is forgotten with the last one.
#[derive(Debug)]
pub struct CallerPermit {
    permit: Option<OwnedSemaphorePermit>,
    /// None only while this is dropped.
    requests: Option<Arc<Semaphore>>,
    key: String,
    limit: CallerLimit,
}

impl Drop for CallerPermit {
    fn drop(&mut self) {
        let mut callers = self.limit.callers();
        self.permit = None;
        self.requests = None;
        // Under the lock no request can begin: only the map has it.
        if callers.get(&self.key).is_some_and(|requests| Arc::strong_count(requests) == 1) {
            callers.remove(&self.key);
        }
    }
}
