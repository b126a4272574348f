//! Measures the intervals between two reads of one execution's history.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use parking_lot::{Mutex, MutexGuard};

/// Histogram of the intervals so far.
#[derive(Default)]
pub struct HistoryGaps {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// Time of the last read, by execution.
    last: HashMap<String, Instant>,
    /// Number of intervals, by their length in milliseconds.
    gaps: BTreeMap<u64, u64>,
}

impl HistoryGaps {
    /// Records the start of a read of this execution's history.
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

    /// Number of intervals, by their length in milliseconds.
    pub fn gaps(&self) -> BTreeMap<u64, u64> {
        self.lock().gaps.clone()
    }

    /// Clears the histogram. Intervals that have already started still count when they end.
    pub fn clear(&self) {
        self.lock().gaps.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn measures_gaps_per_execution() {
        let history_gaps = HistoryGaps::default();
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        history_gaps.note("a", at(0));
        history_gaps.note("b", at(500));
        history_gaps.note("a", at(2_000));
        history_gaps.note("a", at(4_003));
        assert_eq!(history_gaps.gaps(), BTreeMap::from([(2_000, 1), (2_003, 1)]));
        history_gaps.clear();
        history_gaps.note("b", at(4_500));
        assert_eq!(history_gaps.gaps(), BTreeMap::from([(4_000, 1)]));
    }
}
