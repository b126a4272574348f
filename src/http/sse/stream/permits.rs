//! Permits for event streams: limits on open streams in total and for each client address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::http::error::ApiError;
use crate::http::sse::error::StreamError;

/// Issues [`StreamPermit`]s and counts the bytes of all streams. Clones share their state.
#[derive(Clone, Debug)]
pub struct StreamPermits {
    limit: usize,
    limit_per_client: usize,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    open: Mutex<OpenStreams>,
    bytes: AtomicU64,
}

#[derive(Debug, Default)]
struct OpenStreams {
    total: usize,
    by_client: HashMap<IpAddr, usize>,
}

impl StreamPermits {
    pub(crate) fn new(limit: usize, limit_per_client: usize) -> Self {
        Self { limit, limit_per_client, shared: Arc::default() }
    }

    /// Returns the number of open streams.
    pub fn in_use(&self) -> usize {
        self.shared.open.lock().total
    }

    /// Returns the number of bytes sent on all streams since the process started.
    pub(crate) fn bytes_sent(&self) -> u64 {
        self.shared.bytes.load(Ordering::Relaxed)
    }

    /// Acquires a permit for a stream of `client`.
    ///
    /// # Errors
    /// [`StreamError::TooManyOfClient`] or [`StreamError::TooMany`] when a limit is reached.
    pub(crate) fn acquire(&self, client: IpAddr) -> Result<StreamPermit, ApiError> {
        let mut open = self.shared.open.lock();
        if open.by_client.get(&client).is_some_and(|&count| count >= self.limit_per_client) {
            return Err(StreamError::TooManyOfClient { limit: self.limit_per_client }.into());
        }
        if open.total >= self.limit {
            return Err(StreamError::TooMany { limit: self.limit }.into());
        }
        open.total += 1;
        *open.by_client.entry(client).or_default() += 1;
        Ok(StreamPermit { shared: Arc::clone(&self.shared), client })
    }
}

/// The right to keep one event stream open, released when dropped.
#[derive(Debug)]
pub struct StreamPermit {
    shared: Arc<Shared>,
    client: IpAddr,
}

impl StreamPermit {
    /// Adds `bytes` to the total of [`StreamPermits::bytes_sent`].
    pub(crate) fn count_sent(&self, bytes: usize) {
        self.shared.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        let mut open = self.shared.open.lock();
        open.total -= 1;
        if let Some(count) = open.by_client.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                open.by_client.remove(&self.client);
            }
        }
    }
}
