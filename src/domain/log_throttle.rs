//! Throttle for log lines about a lasting problem, which would otherwise repeat with each retry.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Minimum interval between two log lines about the same problem.
const INTERVAL: Duration = Duration::from_mins(1);

/// Throttle of one call site, with the problem that it logged last and the time.
#[derive(Debug, Default)]
pub struct LogThrottle(Mutex<Option<(String, Instant)>>);

impl LogThrottle {
    /// Creates a throttle that allows the first line.
    pub const fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// Returns true if the caller should log `problem`: it differs from the last one, or a minute has passed since.
    pub fn allows(&self, problem: &impl ToString) -> bool {
        self.allows_at(problem.to_string(), Instant::now())
    }

    fn allows_at(&self, problem: String, now: Instant) -> bool {
        let mut last = self.0.lock();
        let repeated =
            last.as_ref().is_some_and(|(text, logged)| *text == problem && now.duration_since(*logged) < INTERVAL);
        if !repeated {
            *last = Some((problem, now));
        }
        !repeated
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_the_same_problem_once_a_minute() {
        let (throttle, start) = (LogThrottle::new(), Instant::now());
        let at = |problem: &str, seconds| throttle.allows_at(problem.to_owned(), start + Duration::from_secs(seconds));
        let allowed = [at("down", 0), at("down", 1), at("down", 59), at("down", 60), at("down", 61)];
        assert_eq!(allowed, [true, false, false, true, false]);
        assert_eq!([at("full", 62), at("full", 63), at("down", 64)], [true, false, true]);
    }
}
