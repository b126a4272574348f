//! Rate limit for opening sessions. Each session adds a row to the audit, which is kept for ever, and any role may open one.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota};

use crate::http::auth::error::AccessError;

/// Sessions that a subject may open per minute in the long run.
const PER_MINUTE: NonZeroU32 = NonZeroU32::MIN.saturating_add(5);

/// Sessions that a subject may open in a burst: a person with several browsers, or a team that shares a token.
const BURST: NonZeroU32 = NonZeroU32::MIN.saturating_add(29);

/// Number of opened sessions after which idle subjects are dropped, so that memory stays bounded.
const SWEEP_INTERVAL: u32 = 256;

/// Counts the sessions opened in this process, by subject.
#[derive(Debug)]
pub(super) struct SessionRate {
    limiter: DefaultKeyedRateLimiter<String>,
    opened: AtomicU32,
    clock: DefaultClock,
}

impl Default for SessionRate {
    fn default() -> Self {
        let quota = Quota::per_minute(PER_MINUTE).allow_burst(BURST);
        let limiter = DefaultKeyedRateLimiter::keyed(quota);
        Self { limiter, opened: AtomicU32::new(0), clock: DefaultClock::default() }
    }
}

impl SessionRate {
    /// Counts a session of `subject`.
    ///
    /// # Errors
    /// [`AccessError::TooManySessions`] over the limit.
    pub(super) fn check(&self, subject: &str) -> Result<(), AccessError> {
        if self.opened.fetch_add(1, Ordering::Relaxed) % SWEEP_INTERVAL == SWEEP_INTERVAL - 1 {
            self.limiter.retain_recent();
        }
        let checked = self.limiter.check_key(&subject.to_owned());
        checked.map_err(|not_yet| AccessError::TooManySessions { wait: not_yet.wait_time_from(self.clock.now()) })
    }
}
