//! Eventual consistency: reads that show the state as it was a while ago.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::dice;

/// Past states to keep. Reads that lag further behind see the oldest one.
const MAX_STATES: usize = 1_000;

/// Longest lag: no test waits for more, and times in the past stay within the calendar.
const LONGEST: Duration = Duration::from_hours(24);

/// Lag of reads behind writes, by what is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Visibility {
    /// Rules: `DescribeRule` and `ListRules`, and the matching of events.
    pub rule: Lag,
    /// Targets: `ListTargetsByRule`, and the delivery of events.
    pub target: Lag,
    /// Policies of buses: `DescribeEventBus`, and the admission of events.
    pub bus_policy: Lag,
    /// Secrets: `GetSecretValue` and `DescribeSecret`.
    pub secret: Lag,
    /// Existence and end of executions: `DescribeExecution` and `ListExecutions`.
    pub execution: Lag,
    /// Events of histories: `GetExecutionHistory`. With jitter, a later event may be visible before an earlier one.
    pub history: Lag,
}

/// A delay, of which a part is drawn for each read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Lag {
    /// Shortest delay, in milliseconds.
    pub delay_ms: u64,
    /// Longest addition to it, in milliseconds. A read may then show an older state than the read before it.
    pub jitter_ms: u64,
}

impl Lag {
    /// A delay without jitter.
    pub fn of(delay: Duration) -> Self {
        Self { delay_ms: u64::try_from(delay.as_millis()).unwrap_or(u64::MAX), jitter_ms: 0 }
    }

    pub(super) fn is_zero(self) -> bool {
        self == Self::default()
    }

    /// The delay for a roll of the dice.
    pub(super) fn drawn(self, roll: u64) -> Duration {
        let added = match self.jitter_ms {
            0 => 0,
            most => roll % most.saturating_add(1),
        };
        Duration::from_millis(self.delay_ms.saturating_add(added)).min(LONGEST)
    }

    /// The delay of one event of a history: the same in each read.
    pub(super) fn of_event(self, seed: u64, arn: &str, id: u64) -> Duration {
        self.drawn(dice::draw(seed, arn, id))
    }
}

impl Visibility {
    /// True if reads about buses lag.
    pub(super) fn of_buses(&self) -> bool {
        [self.rule, self.target, self.bus_policy].iter().any(|lag| !lag.is_zero())
    }
}

/// The states of something by the time from which they were true, oldest first.
#[derive(Debug)]
pub struct Past<T>(VecDeque<(Instant, T)>);

impl<T> Default for Past<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T> Past<T> {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Records a state that is true from `now`.
    pub fn record(&mut self, now: Instant, state: T) {
        self.0.push_back((now, state));
        if self.0.len() > MAX_STATES {
            self.0.pop_front();
        }
    }

    /// The state at `lag` before `now`; the oldest one before its time, and `None` when none was recorded.
    pub fn before(&self, now: Instant, lag: Duration) -> Option<&T> {
        let seen = |&&(since, _): &&(Instant, T)| now.saturating_duration_since(since) >= lag;
        self.0.iter().rev().find(seen).or_else(|| self.0.front()).map(|(_, state)| state)
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_the_state_of_the_past() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut past = Past::default();
        assert_eq!(past.before(at(0), Duration::ZERO), None);
        past.record(at(0), "a");
        past.record(at(100), "b");
        let seen = |now, lag| *past.before(at(now), Duration::from_millis(lag)).unwrap();
        assert_eq!(
            [seen(100, 0), seen(100, 1), seen(149, 50), seen(150, 50), seen(50, 900)],
            ["b", "a", "a", "b", "a"]
        );
    }

    #[test]
    fn jitter_stays_within_its_limit() {
        let lag = Lag { delay_ms: 100, jitter_ms: 10 };
        let drawn: Vec<u128> = (0..50).map(|id| lag.of_event(1, "arn", id).as_millis()).collect();
        assert!(drawn.iter().all(|millis| (100..=110).contains(millis)), "{drawn:?}");
        assert!(drawn.iter().min() != drawn.iter().max());
        assert_eq!(Lag::of(Duration::from_secs(1)).drawn(7), Duration::from_secs(1));
    }
}
