//! The outcome of one attempt to deliver an event, and the time of the next.

use std::time::Duration;

use crate::domain::backoff;

/// Attempts of an event; the last one that fails leaves a dead letter. The waits between them add up to 2.9 days at most, half of that on average.
pub const MAX_ATTEMPTS: i32 = 17;

/// Upper bound of the first wait.
const FIRST_WAIT: Duration = Duration::from_secs(5);

/// Longest wait between two attempts, also where the receiver asks for a longer one.
const LONGEST_WAIT: Duration = Duration::from_hours(24);

/// What the receiver answered to one attempt, if anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptAnswer {
    /// Status of the answer; none without one.
    pub status: Option<u16>,
    /// Value of `Retry-After`, in seconds.
    pub retry_after: Option<Duration>,
    /// Reason for which there is no answer.
    pub error: Option<String>,
}

/// Consequence of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptVerdict {
    /// The receiver has the event.
    Delivered,
    /// The receiver wants no event any more (410).
    Gone,
    /// The event is tried again: any other status, a redirect included, or no answer.
    Failed,
}

impl AttemptAnswer {
    /// Decides by the status alone: a body that is too long or breaks off changes nothing.
    pub fn verdict(&self) -> AttemptVerdict {
        match self.status {
            Some(200..=299) => AttemptVerdict::Delivered,
            Some(410) => AttemptVerdict::Gone,
            _ => AttemptVerdict::Failed,
        }
    }

    /// Reason of a failed attempt, for people.
    pub fn reason(&self) -> Option<String> {
        match (self.verdict(), self.status) {
            (AttemptVerdict::Delivered, _) => None,
            (_, Some(status @ 300..=399)) => Some(format!("status {status}: redirects are not followed")),
            (_, Some(status)) => Some(format!("status {status}")),
            (_, None) => self.error.clone(),
        }
    }
}

/// Returns the wait after failed attempt number `attempts`; none after the last. `roll` is a uniform random number in `[0, 1)`.
pub fn next_wait(attempts: i32, retry_after: Option<Duration>, roll: f64) -> Option<Duration> {
    if attempts >= MAX_ATTEMPTS {
        return None;
    }
    let wait = backoff::delay(u32::try_from(attempts).unwrap_or(1), FIRST_WAIT, LONGEST_WAIT, roll);
    Some(wait.max(retry_after.unwrap_or_default()).min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16) -> AttemptAnswer {
        AttemptAnswer { status: Some(status), retry_after: None, error: None }
    }

    #[test]
    fn only_success_delivers() {
        assert_eq!(answer(204).verdict(), AttemptVerdict::Delivered);
        assert_eq!(answer(410).verdict(), AttemptVerdict::Gone);
        for status in [101, 301, 308, 400, 404, 429, 500, 503] {
            assert_eq!(answer(status).verdict(), AttemptVerdict::Failed, "{status}");
        }
        let silent = AttemptAnswer { status: None, retry_after: None, error: Some("no answer".to_owned()) };
        assert_eq!((silent.verdict(), silent.reason().as_deref()), (AttemptVerdict::Failed, Some("no answer")));
        assert!(answer(302).reason().unwrap().contains("not followed"));
    }

    #[test]
    fn waits_from_seconds_to_a_day_and_then_stops() {
        assert_eq!(next_wait(1, None, 0.0), Some(Duration::from_secs(5)));
        assert_eq!(next_wait(16, None, 0.0), Some(LONGEST_WAIT));
        assert_eq!(next_wait(MAX_ATTEMPTS, None, 0.0), None);
        assert_eq!(next_wait(1, Some(Duration::from_secs(90)), 0.9), Some(Duration::from_secs(90)));
        assert_eq!(next_wait(1, Some(Duration::from_hours(999)), 0.9), Some(LONGEST_WAIT));
        let all: Duration = (1..MAX_ATTEMPTS).filter_map(|attempts| next_wait(attempts, None, 0.0)).sum();
        assert!(all < Duration::from_hours(70), "2.9 days, as documented: {all:?}");
    }
}
