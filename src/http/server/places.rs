//! How many connections may be open, and which one goes when there are too many: the one that has been without a request for longest.
//! Those that send no request can so not keep out those that do.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The places for connections: cheap to clone.
#[derive(Clone, Debug)]
pub struct Places {
    most: usize,
    state: Arc<Mutex<State>>,
    freed: Arc<Notify>,
}

#[derive(Debug, Default)]
struct State {
    open: usize,
    /// Those that were told to go, and have not gone yet.
    leaving: usize,
    next: u64,
    /// Connections without a request, the one that has waited longest first.
    idle: BTreeMap<u64, CancellationToken>,
}

impl Places {
    /// At most `most` connections.
    pub fn new(most: usize) -> Self {
        Self { most, state: Arc::default(), freed: Arc::default() }
    }

    /// A place for a new connection; none when all are taken by connections with a request. Never more than there should be: when one has
    /// to go, this waits until it has.
    pub async fn take(&self) -> Option<Taken> {
        while !self.is_free()? {
            self.freed.notified().await;
        }
        let taken = Taken { places: self.clone(), cut: CancellationToken::new(), waiting: Mutex::default() };
        taken.set_idle();
        Some(taken)
    }

    /// Takes a place if one is free, or makes a connection go; none when none can.
    fn is_free(&self) -> Option<bool> {
        let mut state = self.state();
        if state.open < self.most {
            state.open += 1;
            return Some(true);
        }
        if state.leaving == 0 {
            state.idle.pop_first()?.1.cancel();
            state.leaving += 1;
        }
        Some(false)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection's place, until it is dropped.
#[derive(Debug)]
pub struct Taken {
    places: Places,
    cut: CancellationToken,
    /// Its number among the idle ones.
    waiting: Mutex<Option<u64>>,
}

impl Taken {
    /// Ends when another connection needs the place.
    pub async fn lost(&self) {
        self.cut.cancelled().await;
    }

    /// It has no request, from now on.
    pub fn set_idle(&self) {
        let mut waiting = self.waiting();
        let mut state = self.places.state();
        state.next += 1;
        let number = state.next;
        state.idle.insert(number, self.cut.clone());
        if let Some(before) = waiting.replace(number) {
            state.idle.remove(&before);
        }
    }

    /// It has a request.
    pub fn set_busy(&self) {
        if let Some(number) = self.waiting().take() {
            self.places.state().idle.remove(&number);
        }
    }

    /// Whether it has a request, or is an event stream.
    pub fn is_busy(&self) -> bool {
        self.waiting().is_none()
    }

    fn waiting(&self) -> MutexGuard<'_, Option<u64>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.set_busy();
        let mut state = self.places.state();
        state.open -= 1;
        state.leaving -= usize::from(self.cut.is_cancelled());
        drop(state);
        self.places.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_one_that_has_been_idle_for_longest_gives_its_place() {
        let places = Places::new(3);
        let mut taken = Vec::new();
        for _ in 0..3 {
            taken.push(places.take().await.unwrap());
        }
        let (third, second, first) = (taken.pop().unwrap(), taken.pop().unwrap(), taken.pop().unwrap());
        first.set_busy();
        second.set_busy();
        second.set_idle();
        let going = async {
            third.lost().await;
            assert!(!first.cut.is_cancelled() && !second.cut.is_cancelled());
            assert_eq!(places.state().open, 3, "the new one waits for the end of this one");
            drop(third);
        };
        let (fourth, ()) = tokio::join!(places.take(), going);
        let fourth = fourth.unwrap();
        fourth.set_busy();
        second.set_busy();
        assert!(places.take().await.is_none(), "all have requests");
        drop(first);
        assert!(places.take().await.is_some());
        assert_eq!(places.state().leaving, 0);
    }
}
