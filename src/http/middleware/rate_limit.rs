//! Rate limits: requests per second from one client address, and with one token, which may be used from many addresses.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::http::{HeaderMap, header};
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota};
use sha2::{Digest as _, Sha256};

use crate::http::middleware::error::AdmissionError;

/// Burst, in seconds' worth of requests: room for a page that loads, or a script that lists everything.
const BURST: u32 = 10;

/// Number of requests after which keys with a full quota are dropped, so that only recent callers take memory.
const SWEEP_INTERVAL: u32 = 4_096;

/// Rate limits of this process, by client address and by token.
#[derive(Debug)]
pub struct RateLimits {
    clients: Option<Limit<IpAddr>>,
    tokens: Option<Limit<[u8; 32]>>,
    requests: AtomicU32,
    clock: DefaultClock,
}

#[derive(Debug)]
struct Limit<K: Clone + std::hash::Hash + Eq> {
    rate: u32,
    limiter: DefaultKeyedRateLimiter<K>,
}

impl<K: Clone + std::hash::Hash + Eq> Limit<K> {
    /// A limit of `rate` requests per second; none for 0.
    fn new(rate: u32) -> Option<Self> {
        let a_second = NonZeroU32::new(rate)?;
        let quota = Quota::per_second(a_second).allow_burst(a_second.saturating_mul(NonZeroU32::new(BURST)?));
        Some(Self { rate, limiter: DefaultKeyedRateLimiter::keyed(quota) })
    }

    fn check(&self, key: &K, of: &'static str, clock: &DefaultClock) -> Result<(), AdmissionError> {
        self.limiter.check_key(key).map_err(|not_yet| AdmissionError::TooManyRequests {
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

impl RateLimits {
    /// `per_client` and `per_token` are requests per second; 0 disables the limit.
    pub fn new(per_client: u32, per_token: u32) -> Self {
        Self {
            clients: Limit::new(per_client),
            tokens: Limit::new(per_token),
            requests: AtomicU32::new(0),
            clock: DefaultClock::default(),
        }
    }

    /// Counts a request. The token is not verified yet: a caller that invents tokens is limited by its address.
    ///
    /// # Errors
    /// [`AdmissionError::TooManyRequests`] over a limit.
    pub fn check(&self, client: IpAddr, headers: &HeaderMap) -> Result<(), AdmissionError> {
        if self.requests.fetch_add(1, Ordering::Relaxed) % SWEEP_INTERVAL == SWEEP_INTERVAL - 1 {
            self.sweep();
        }
        if let Some(limit) = &self.clients {
            limit.check(&client, "address", &self.clock)?;
        }
        if let (Some(limit), Some(token)) = (&self.tokens, headers.get(header::AUTHORIZATION)) {
            // Hashed, so that no token stays in memory here.
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

    fn passed(rates: &RateLimits, client: u32, headers: &HeaderMap, tries: u32) -> usize {
        (0..tries).filter(|_| rates.check(address(client), headers).is_ok()).count()
    }

    #[test]
    fn burst_is_ten_seconds_worth() {
        let rates = RateLimits::new(2, 0);
        let none = HeaderMap::new();
        // One more when the machine pauses for half a second.
        assert!((20..=21).contains(&passed(&rates, 1, &none, 40)));
        assert_eq!(passed(&rates, 2, &none, 20), 20, "another address has its own");
        let Err(AdmissionError::TooManyRequests { wait, .. }) = rates.check(address(1), &none) else { panic!() };
        assert!(wait.as_millis() <= 500, "{wait:?}");
    }

    #[test]
    fn token_is_limited_across_addresses() {
        let rates = RateLimits::new(0, 1);
        let passed: usize = (0..30).map(|n| passed(&rates, n, &with("Bearer a"), 1)).sum();
        assert!((10..=11).contains(&passed), "{passed}");
        assert!(rates.check(address(0), &with("Bearer b")).is_ok());
        assert!(rates.check(address(0), &HeaderMap::new()).is_ok());
    }

    #[test]
    fn zero_disables_limits() {
        let rates = RateLimits::new(0, 0);
        assert_eq!(passed(&rates, 1, &with("Bearer a"), 10_000), 10_000);
    }

    #[test]
    fn idle_addresses_are_dropped() {
        let rates = RateLimits::new(1_000_000, 0);
        for n in 0..SWEEP_INTERVAL * 4 {
            rates.check(address(n), &HeaderMap::new()).unwrap();
        }
        // At this rate a quota is full again after a microsecond: the last sweep dropped nearly all addresses.
        let kept = rates.clients.as_ref().unwrap().limiter.len();
        assert!(kept <= SWEEP_INTERVAL as usize, "{kept}");
    }
}
