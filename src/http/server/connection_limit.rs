//! Limit on open connections. At the limit a new connection evicts the one that has been idle longest, so that
//! clients without requests cannot lock out clients with requests.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Issues [`ConnectionSlot`]s. Clones share their state.
#[derive(Clone, Debug)]
pub struct ConnectionLimit {
    limit: usize,
    state: Arc<Mutex<State>>,
    freed: Arc<Notify>,
}

#[derive(Debug, Default)]
struct State {
    open: usize,
    /// Connections that were evicted and have not closed yet.
    evicting: usize,
    next: u64,
    /// Connections without a request, the longest idle one first.
    idle: BTreeMap<u64, CancellationToken>,
}

impl ConnectionLimit {
    pub fn new(limit: usize) -> Self {
        Self { limit, state: Arc::default(), freed: Arc::default() }
    }

    /// Acquires a slot for a new connection. Returns `None` when all slots are serving requests. The limit is never exceeded: when a connection has
    /// to be evicted, this waits until it has closed.
    pub async fn acquire(&self) -> Option<ConnectionSlot> {
        while !self.acquire_or_evict()? {
            self.freed.notified().await;
        }
        let slot =
            ConnectionSlot { slots: self.clone(), eviction: CancellationToken::new(), idle_number: Mutex::default() };
        slot.set_idle();
        Some(slot)
    }

    /// Counts a slot and returns true if one is free. Otherwise evicts an idle connection, unless an eviction is in progress, and returns false;
    /// `None` when no connection is idle.
    fn acquire_or_evict(&self) -> Option<bool> {
        let mut state = self.state();
        if state.open < self.limit {
            state.open += 1;
            return Some(true);
        }
        if state.evicting == 0 {
            state.idle.pop_first()?.1.cancel();
            state.evicting += 1;
        }
        Some(false)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

/// The slot of an open connection, released when dropped.
#[derive(Debug)]
pub struct ConnectionSlot {
    slots: ConnectionLimit,
    eviction: CancellationToken,
    /// Key in [`State::idle`]; `None` while the connection is busy.
    idle_number: Mutex<Option<u64>>,
}

impl ConnectionSlot {
    /// Waits until a new connection needs the slot: then this one must close.
    pub async fn evicted(&self) {
        self.eviction.cancelled().await;
    }

    /// Marks the connection as idle from now on, so that it can be evicted.
    pub fn set_idle(&self) {
        let mut idle_number = self.idle_number();
        let mut state = self.slots.state();
        state.next += 1;
        let number = state.next;
        state.idle.insert(number, self.eviction.clone());
        if let Some(before) = idle_number.replace(number) {
            state.idle.remove(&before);
        }
    }

    /// Protects the connection from eviction while it serves a request.
    pub fn set_busy(&self) {
        if let Some(number) = self.idle_number().take() {
            self.slots.state().idle.remove(&number);
        }
    }

    /// Returns true while the connection serves a request or an event stream.
    pub fn is_busy(&self) -> bool {
        self.idle_number().is_none()
    }

    fn idle_number(&self) -> MutexGuard<'_, Option<u64>> {
        self.idle_number.lock()
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.set_busy();
        let mut state = self.slots.state();
        state.open -= 1;
        state.evicting -= usize::from(self.eviction.is_cancelled());
        drop(state);
        self.slots.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn evicts_the_longest_idle_connection() {
        let limit = ConnectionLimit::new(3);
        let mut slots = Vec::new();
        for _ in 0..3 {
            slots.push(limit.acquire().await.unwrap());
        }
        let (third, second, first) = (slots.pop().unwrap(), slots.pop().unwrap(), slots.pop().unwrap());
        first.set_busy();
        second.set_busy();
        second.set_idle();
        let closing = async {
            third.evicted().await;
            assert!(!first.eviction.is_cancelled() && !second.eviction.is_cancelled());
            assert_eq!(limit.state().open, 3, "the new connection waits until this one has closed");
            drop(third);
        };
        let (fourth, ()) = tokio::join!(limit.acquire(), closing);
        let fourth = fourth.unwrap();
        fourth.set_busy();
        second.set_busy();
        assert!(limit.acquire().await.is_none(), "all connections have requests");
        drop(first);
        assert!(limit.acquire().await.is_some());
        assert_eq!(limit.state().evicting, 0);
    }
}
