//! The highest value of the last moments, for decisions of this process: a histogram only grows.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Length of a window. The result covers the present window and the one before.
const WINDOW: Duration = Duration::from_millis(250);

/// Highest recent duration. Clones share the value.
#[derive(Clone, Debug)]
pub(super) struct RecentMax(Arc<Mutex<Windows>>);

#[derive(Debug)]
struct Windows {
    start: Instant,
    present: Duration,
    before: Duration,
}

impl RecentMax {
    pub(super) fn new(now: Instant) -> Self {
        Self(Arc::new(Mutex::new(Windows { start: now, present: Duration::ZERO, before: Duration::ZERO })))
    }

    pub(super) fn record(&self, value: Duration, now: Instant) {
        self.with(now, |windows| windows.present = windows.present.max(value));
    }

    pub(super) fn max(&self, now: Instant) -> Duration {
        self.with(now, |windows| windows.present.max(windows.before))
    }

    fn with<T>(&self, now: Instant, f: impl FnOnce(&mut Windows) -> T) -> T {
        let mut windows = self.0.lock();
        let age = now.saturating_duration_since(windows.start);
        if age >= WINDOW {
            windows.before = if age < 2 * WINDOW { windows.present } else { Duration::ZERO };
            (windows.start, windows.present) = (now, Duration::ZERO);
        }
        f(&mut windows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn returns_the_highest_value_of_two_windows() {
        let start = Instant::now();
        let recent = RecentMax::new(start);
        let at = |millis| start + Duration::from_millis(millis);
        recent.record(Duration::from_millis(40), at(10));
        recent.record(Duration::from_millis(5), at(20));
        assert_eq!(recent.max(at(30)), Duration::from_millis(40));
        recent.record(Duration::from_millis(7), at(300));
        assert_eq!(recent.max(at(310)), Duration::from_millis(40), "the window before counts");
        assert_eq!(recent.max(at(600)), Duration::from_millis(7));
        assert_eq!(recent.max(at(2_000)), Duration::ZERO);
    }
}
