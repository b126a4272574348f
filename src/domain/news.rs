//! Trouble that lasts is said once, not at each try.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Between two lines about the same trouble.
const AGAIN: Duration = Duration::from_mins(1);

/// What one place of the program said last.
#[derive(Debug, Default)]
pub struct News(Mutex<Option<(String, Instant)>>);

impl News {
    /// Of a place that has said nothing yet.
    pub const fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// Whether `trouble` is to be said: it is another than the last one, or that was a minute ago.
    pub fn are(&self, trouble: &impl ToString) -> bool {
        self.are_at(trouble.to_string(), Instant::now())
    }

    fn are_at(&self, trouble: String, now: Instant) -> bool {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let old = said.as_ref().is_some_and(|(what, when)| *what == trouble && now.duration_since(*when) < AGAIN);
        if !old {
            *said = Some((trouble, now));
        }
        !old
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_trouble_is_said_once_a_minute_and_another_at_once() {
        let (news, begun) = (News::new(), Instant::now());
        let at = |trouble: &str, seconds| news.are_at(trouble.to_owned(), begun + Duration::from_secs(seconds));
        let said = [at("away", 0), at("away", 1), at("away", 59), at("away", 60), at("away", 61)];
        assert_eq!(said, [true, false, false, true, false]);
        assert_eq!([at("full", 62), at("full", 63), at("away", 64)], [true, false, true]);
    }
}
