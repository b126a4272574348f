//! Rate limits of sessions and sign-ins. Each session adds a row to the audit, which is kept for ever, and any role may open one; each sign-in looks up a
//! credential, or calls an issuer, for a client that is not known yet.

use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota};

/// Sessions that a subject may open: six a minute in the long run, thirty in a burst, for a person with several browsers, or a team that shares a token.
pub(super) const SESSIONS: Quota = quota(6, 30);

/// Sign-ins of a client, failed ones included: a network whose users share an address needs more than a person.
pub(super) const SIGN_INS: Quota = quota(20, 40);

/// Number of counted events after which idle keys are dropped, so that memory stays bounded.
const SWEEP_INTERVAL: u32 = 256;

const fn quota(per_minute: u32, burst: u32) -> Quota {
    Quota::per_minute(NonZeroU32::MIN.saturating_add(per_minute - 1))
        .allow_burst(NonZeroU32::MIN.saturating_add(burst - 1))
}

/// Counts events in this process, by key.
#[derive(Debug)]
pub(super) struct KeyedRate<K: Hash + Eq + Clone> {
    limiter: DefaultKeyedRateLimiter<K>,
    counted: AtomicU32,
    clock: DefaultClock,
}

impl<K: Hash + Eq + Clone> KeyedRate<K> {
    pub(super) fn new(quota: Quota) -> Self {
        let limiter = DefaultKeyedRateLimiter::keyed(quota);
        Self { limiter, counted: AtomicU32::new(0), clock: DefaultClock::default() }
    }

    /// Counts an event of `key`.
    ///
    /// # Errors
    /// Over the limit: the time until the next event can be counted.
    pub(super) fn check(&self, key: &K) -> Result<(), Duration> {
        if self.counted.fetch_add(1, Ordering::Relaxed) % SWEEP_INTERVAL == SWEEP_INTERVAL - 1 {
            self.limiter.retain_recent();
        }
        self.limiter.check_key(key).map_err(|not_yet| not_yet.wait_time_from(self.clock.now()))
    }
}
