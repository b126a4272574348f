//! Time that a deployment may spend beyond its limits: throttled by AWS (decision 0056), or waiting for the renewal of its connection (decision 0060).

use std::time::Duration;

use super::limits::{MAX_RENEWAL_WAIT, MAX_THROTTLED};
use crate::domain::Deployment;
use crate::domain::message::{Message, Param, message};
use crate::steps::AWAIT_SWITCH;

/// Time by which the limits of an attempt are extended.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ExtraTime {
    /// Time spent throttled since this replica drives the deployment.
    throttled: Duration,
    /// Time spent waiting for a renewal, on other replicas too.
    renewal: Duration,
}

impl ExtraTime {
    /// Returns the time that the row knows of: the waits for a renewal that have ended, and the present one, which began with its step at the earliest.
    pub(super) fn of(deployment: &Deployment) -> Self {
        let ended = deployment.facts.renewal_wait_ms.and_then(|wait| u64::try_from(wait).ok()).unwrap_or_default();
        // The wait for the switch has no limit, so that no extension of it is used up.
        let limited = deployment.step != AWAIT_SWITCH;
        let present = if deployment.awaits_renewal() && limited { deployment.step_elapsed } else { Duration::ZERO };
        let renewal = Duration::from_millis(ended).saturating_add(present).min(MAX_RENEWAL_WAIT);
        Self { throttled: Duration::ZERO, renewal }
    }

    /// Returns the part of `time` spent throttled by which the limits are extended: all of it, until [`MAX_THROTTLED`] is reached.
    pub(super) fn grant_throttled(&mut self, time: Duration) -> Duration {
        grant(&mut self.throttled, time, MAX_THROTTLED)
    }

    /// The same for time spent waiting for a renewal, until [`MAX_RENEWAL_WAIT`] is reached.
    pub(super) fn grant_renewal(&mut self, time: Duration) -> Duration {
        grant(&mut self.renewal, time, MAX_RENEWAL_WAIT)
    }

    /// Returns the time granted so far.
    pub(super) fn total(self) -> Duration {
        self.throttled.saturating_add(self.renewal)
    }

    /// Returns the time granted for waiting for renewals.
    pub(super) fn renewal(self) -> Duration {
        self.renewal
    }

    /// Describes what counts against the limits from now on, as the end of a sentence; empty while all time is granted.
    pub(super) fn exhausted(self) -> Message {
        let none = || Param::from("");
        let throttled = if self.throttled >= MAX_THROTTLED {
            message!("reason.throttled_besides", seconds = MAX_THROTTLED.as_secs()).into()
        } else {
            none()
        };
        let renewal = if self.renewal >= MAX_RENEWAL_WAIT {
            message!("reason.renewal_besides", seconds = MAX_RENEWAL_WAIT.as_secs()).into()
        } else {
            none()
        };
        message!("reason.besides", throttled, renewal)
    }
}

fn grant(granted: &mut Duration, time: Duration, limit: Duration) -> Duration {
    let time = time.min(limit.saturating_sub(*granted));
    *granted = granted.saturating_add(time);
    time
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_an_hour_of_throttling() {
        let mut extra = ExtraTime::default();
        assert_eq!(extra.grant_throttled(Duration::from_mins(50)), Duration::from_mins(50));
        assert_eq!(extra.exhausted().to_string(), "");
        assert_eq!(extra.grant_throttled(Duration::from_mins(20)), Duration::from_mins(10));
        assert!(extra.exhausted().to_string().contains("throttled"));
        assert_eq!(extra.grant_throttled(Duration::from_mins(1)), Duration::ZERO);
        assert_eq!(extra.total(), MAX_THROTTLED);
    }

    #[test]
    fn grants_a_day_of_waiting_for_a_renewal() {
        let mut extra = ExtraTime::default();
        assert_eq!(extra.grant_renewal(Duration::from_hours(23)), Duration::from_hours(23));
        assert_eq!(extra.grant_throttled(Duration::from_mins(1)), Duration::from_mins(1), "counted separately");
        assert_eq!(extra.grant_renewal(Duration::from_hours(2)), Duration::from_hours(1));
        assert!(extra.exhausted().to_string().contains("renewed credentials"));
        assert_eq!(extra.renewal(), MAX_RENEWAL_WAIT);
    }
}
