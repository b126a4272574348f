//! The outcome of one attempt to deliver an event, and the time of the next.

use std::time::Duration;

use crate::domain::backoff;

/// Attempts of an event; the last one that fails leaves a dead letter. The waits between them add up to 2.9 days at most, half of that on average.
pub const MAX_ATTEMPTS: i32 = 17;

/// Upper bound of the first wait.
const FIRST_WAIT: Duration = Duration::from_secs(5);

/// Longest wait between two attempts, also where the receiver asks for a longer one.
const LONGEST_WAIT: Duration = Duration::from_hours(24);

/// The result of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptAnswer {
    /// Consequence of the answer.
    pub verdict: AttemptVerdict,
    /// Status of the answer; none without one.
    pub status: Option<u16>,
    /// Time for which the receiver wants no request (`Retry-After`).
    pub retry_after: Option<Duration>,
    /// Reason of a failed attempt, for people; none when it succeeded.
    pub reason: Option<String>,
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
    /// The receiver will never accept this event: a dead letter without another attempt.
    Refused,
}

impl AttemptAnswer {
    /// Decides by the status alone: a body that is too long or breaks off changes nothing.
    pub fn of_status(status: u16, retry_after: Option<Duration>) -> Self {
        let (verdict, reason) = match status {
            200..=299 => (AttemptVerdict::Delivered, None),
            410 => (AttemptVerdict::Gone, Some(format!("status {status}"))),
            300..=399 => (AttemptVerdict::Failed, Some(format!("status {status}: redirects are not followed"))),
            _ => (AttemptVerdict::Failed, Some(format!("status {status}"))),
        };
        Self { verdict, status: Some(status), retry_after, reason }
    }

    /// The receiver has the event.
    pub fn delivered(status: Option<u16>) -> Self {
        Self { verdict: AttemptVerdict::Delivered, status, retry_after: None, reason: None }
    }

    /// The attempt failed without an answer: it is tried again.
    pub fn failed(reason: impl Into<String>) -> Self {
        Self { verdict: AttemptVerdict::Failed, status: None, retry_after: None, reason: Some(reason.into()) }
    }

    /// The receiver will never accept this event.
    pub fn refused(status: Option<u16>, reason: impl Into<String>) -> Self {
        Self { verdict: AttemptVerdict::Refused, status, retry_after: None, reason: Some(reason.into()) }
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

    #[test]
    fn only_success_delivers() {
        let verdict = |status| AttemptAnswer::of_status(status, None).verdict;
        assert_eq!(verdict(204), AttemptVerdict::Delivered);
        assert_eq!(verdict(410), AttemptVerdict::Gone);
        for status in [101, 301, 308, 400, 404, 429, 500, 503] {
            assert_eq!(verdict(status), AttemptVerdict::Failed, "{status}");
        }
        let silent = AttemptAnswer::failed("no answer");
        assert_eq!((silent.verdict, silent.reason.as_deref()), (AttemptVerdict::Failed, Some("no answer")));
        assert!(AttemptAnswer::of_status(302, None).reason.unwrap().contains("not followed"));
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
