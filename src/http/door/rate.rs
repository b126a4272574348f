//! How many requests a second: of one address, and under one token, which may be used from many addresses.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::http::{HeaderMap, header};
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota};
use sha2::{Digest as _, Sha256};

use crate::http::error::ApiError;

/// So many seconds' worth may come at once: a page that opens, a script that lists everything.
const BURST: u32 = 10;

/// Between two looks for keys whose limit is whole again, in requests. They are forgotten: the memory is bounded by who came lately.
const SWEEP: u32 = 4_096;

/// The limits of a process.
#[derive(Debug)]
pub struct Rates {
    clients: Option<Limit<IpAddr>>,
    tokens: Option<Limit<[u8; 32]>>,
    asked: AtomicU32,
    clock: DefaultClock,
}

#[derive(Debug)]
struct Limit<K: Clone + std::hash::Hash + Eq> {
    rate: u32,
    limiter: DefaultKeyedRateLimiter<K>,
}

impl<K: Clone + std::hash::Hash + Eq> Limit<K> {
    /// None for a rate of 0.
    fn new(rate: u32) -> Option<Self> {
        let a_second = NonZeroU32::new(rate)?;
        let quota = Quota::per_second(a_second).allow_burst(a_second.saturating_mul(NonZeroU32::new(BURST)?));
        Some(Self { rate, limiter: DefaultKeyedRateLimiter::keyed(quota) })
    }

    fn check(&self, key: &K, of: &'static str, clock: &DefaultClock) -> Result<(), ApiError> {
        self.limiter.check_key(key).map_err(|not_yet| ApiError::TooManyRequests {
            of,
            rate: self.rate,
            wait: not_yet.wait_time_from(clock.now()),
        })
    }

    fn sweep(&self) {
        self.limiter.retain_recent();
        self.limiter.shrink_to_fit();
    }
}

impl Rates {
    /// Requests a second of one client, and under one token; 0 for no limit.
    pub fn new(per_client: u32, per_token: u32) -> Self {
        Self {
            clients: Limit::new(per_client),
            tokens: Limit::new(per_token),
            asked: AtomicU32::new(0),
            clock: DefaultClock::default(),
        }
    }

    /// Counts a request, or refuses it. The token is not known to be good yet: whoever makes up new ones is held by the address.
    pub fn check(&self, client: IpAddr, headers: &HeaderMap) -> Result<(), ApiError> {
        if self.asked.fetch_add(1, Ordering::Relaxed) % SWEEP == SWEEP - 1 {
            self.sweep();
        }
        if let Some(limit) = &self.clients {
            limit.check(&client, "address", &self.clock)?;
        }
        if let (Some(limit), Some(token)) = (&self.tokens, headers.get(header::AUTHORIZATION)) {
            // The hash, so that no token is kept here.
            limit.check(&Sha256::digest(token.as_bytes()).into(), "token", &self.clock)?;
        }
        Ok(())
    }

    fn sweep(&self) {
        self.clients.iter().for_each(Limit::sweep);
        self.tokens.iter().for_each(Limit::sweep);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u32) -> IpAddr {
        IpAddr::V4(n.into())
    }

    fn with(token: &str) -> HeaderMap {
        [(header::AUTHORIZATION, token.parse().unwrap())].into_iter().collect()
    }

    fn passed(rates: &Rates, client: u32, headers: &HeaderMap, tries: u32) -> usize {
        (0..tries).filter(|_| rates.check(address(client), headers).is_ok()).count()
    }

    #[test]
    fn ten_seconds_worth_may_come_at_once_and_no_more() {
        let rates = Rates::new(2, 0);
        let none = HeaderMap::new();
        // One more at most, should the machine stand still for half a second.
        assert!((20..=21).contains(&passed(&rates, 1, &none, 40)));
        assert_eq!(passed(&rates, 2, &none, 20), 20, "another address has its own");
        let Err(ApiError::TooManyRequests { wait, .. }) = rates.check(address(1), &none) else { panic!() };
        assert!(wait.as_millis() <= 500, "{wait:?}");
    }

    #[test]
    fn a_token_counts_wherever_it_is_used_from() {
        let rates = Rates::new(0, 1);
        let passed: usize = (0..30).map(|n| passed(&rates, n, &with("Bearer a"), 1)).sum();
        assert!((10..=11).contains(&passed), "{passed}");
        assert!(rates.check(address(0), &with("Bearer b")).is_ok());
        assert!(rates.check(address(0), &HeaderMap::new()).is_ok());
    }

    #[test]
    fn without_limits_nothing_is_refused_or_kept() {
        let rates = Rates::new(0, 0);
        assert_eq!(passed(&rates, 1, &with("Bearer a"), 10_000), 10_000);
    }

    #[test]
    fn addresses_that_stay_away_are_forgotten() {
        let rates = Rates::new(1_000_000, 0);
        for n in 0..SWEEP * 4 {
            rates.check(address(n), &HeaderMap::new()).unwrap();
        }
        // At this rate a limit is whole again after a microsecond: the last sweep left next to nobody.
        let kept = rates.clients.as_ref().unwrap().limiter.len();
        assert!(kept <= SWEEP as usize, "{kept}");
    }
}
