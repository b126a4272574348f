//! How many sessions a subject opens: each is a row of the audit, which is kept for ever, and any right at all is enough for it.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota};

use crate::http::error::ApiError;

/// Sessions a minute for long.
const A_MINUTE: NonZeroU32 = NonZeroU32::MIN.saturating_add(5);

/// Sessions at once: a person with some browsers, or a team that shares a token.
const AT_ONCE: NonZeroU32 = NonZeroU32::MIN.saturating_add(29);

/// Sessions between two looks for subjects that opened none lately.
const SWEEP: u32 = 256;

/// The sessions that were opened in this process.
#[derive(Debug)]
pub(super) struct Opening {
    limiter: DefaultKeyedRateLimiter<String>,
    opened: AtomicU32,
    clock: DefaultClock,
}

impl Default for Opening {
    fn default() -> Self {
        let quota = Quota::per_minute(A_MINUTE).allow_burst(AT_ONCE);
        let limiter = DefaultKeyedRateLimiter::keyed(quota);
        Self { limiter, opened: AtomicU32::new(0), clock: DefaultClock::default() }
    }
}

impl Opening {
    /// Counts a session of the subject, or refuses it.
    pub(super) fn check(&self, subject: &str) -> Result<(), ApiError> {
        if self.opened.fetch_add(1, Ordering::Relaxed) % SWEEP == SWEEP - 1 {
            self.limiter.retain_recent();
        }
        let checked = self.limiter.check_key(&subject.to_owned());
        checked.map_err(|not_yet| ApiError::TooManySessions { wait: not_yet.wait_time_from(self.clock.now()) })
    }
}
