//! Delay before a retry: exponential, capped, with full jitter.

use std::time::Duration;

/// Returns the delay before retry number `failures` (1 for the first), uniform in `(0, min(cap, base × 2^(failures-1))]`, and at least 5 %
/// of the upper bound.
///
/// `roll` is a uniform random number in `[0, 1)`. Full jitter keeps deployments that failed together from retrying together.
pub fn delay(failures: u32, base: Duration, cap: Duration, roll: f64) -> Duration {
    let doubled = base.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1).min(31)));
    doubled.min(cap).mul_f64((1.0 - roll).clamp(0.05, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delay_doubles_up_to_the_cap_and_is_never_zero() {
        let (base, cap) = (Duration::from_millis(100), Duration::from_secs(5));
        assert_eq!(delay(1, base, cap, 0.0), base);
        assert_eq!(delay(3, base, cap, 0.0), Duration::from_millis(400));
        assert_eq!(delay(60, base, cap, 0.0), cap);
        assert!(delay(60, base, cap, 0.999_999) >= Duration::from_millis(250));
    }
}
