//! How evenly executions are followed: the gaps between two readings of one history, counted by milliseconds.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// The gaps so far.
#[derive(Default)]
pub struct Readings {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// By execution.
    last: HashMap<String, Instant>,
    /// How many gaps there were, by their length in milliseconds.
    gaps: BTreeMap<u64, u64>,
}

impl Readings {
    /// Somebody begins to read this execution's history.
    pub fn note(&self, execution: &str, now: Instant) {
        let mut inner = self.lock();
        let Some(last) = inner.last.get_mut(execution) else {
            inner.last.insert(execution.to_owned(), now);
            return;
        };
        let gap = now.saturating_duration_since(std::mem::replace(last, now));
        let millis = u64::try_from(gap.as_millis()).unwrap_or(u64::MAX);
        *inner.gaps.entry(millis).or_default() += 1;
    }

    /// How many gaps there were, by their length in milliseconds.
    pub fn gaps(&self) -> BTreeMap<u64, u64> {
        self.lock().gaps.clone()
    }

    /// Forgets the gaps; those that are open now will count.
    pub fn clear(&self) {
        self.lock().gaps.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn gaps_are_those_of_one_execution_and_are_forgotten_on_demand() {
        let readings = Readings::default();
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        readings.note("a", at(0));
        readings.note("b", at(500));
        readings.note("a", at(2_000));
        readings.note("a", at(4_003));
        assert_eq!(readings.gaps(), BTreeMap::from([(2_000, 1), (2_003, 1)]));
        readings.clear();
        readings.note("b", at(4_500));
        assert_eq!(readings.gaps(), BTreeMap::from([(4_000, 1)]));
    }
}
