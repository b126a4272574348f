//! Time that a deployment may spend throttled beyond its limits (decision 0056).

use std::time::Duration;

use super::limits::MAX_THROTTLED;

/// Time by which throttling has extended the limits since this replica drives the deployment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ThrottledTime {
    granted: Duration,
}

impl ThrottledTime {
    /// Returns the part of `time` by which the limits are extended: all of it, until [`MAX_THROTTLED`] is reached.
    pub(super) fn grant(&mut self, time: Duration) -> Duration {
        let granted = time.min(MAX_THROTTLED.saturating_sub(self.granted));
        self.granted = self.granted.saturating_add(granted);
        granted
    }

    /// Returns the time granted so far.
    pub(super) fn granted(self) -> Duration {
        self.granted
    }

    /// Reports whether throttling counts against the limits from now on.
    pub(super) fn is_exhausted(self) -> bool {
        self.granted >= MAX_THROTTLED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_an_hour_in_total() {
        let mut throttled = ThrottledTime::default();
        assert_eq!(throttled.grant(Duration::from_mins(50)), Duration::from_mins(50));
        assert!(!throttled.is_exhausted());
        assert_eq!(throttled.grant(Duration::from_mins(20)), Duration::from_mins(10));
        assert!(throttled.is_exhausted());
        assert_eq!(throttled.grant(Duration::from_mins(1)), Duration::ZERO);
        assert_eq!(throttled.granted(), MAX_THROTTLED);
    }
}
