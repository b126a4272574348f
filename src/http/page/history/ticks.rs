//! Ticks of an axis: round values that people read, from zero to above the largest value.

/// Largest number of ticks above zero.
const MOST: f64 = 4.0;

/// Steps of durations, in seconds; larger ones are whole multiples of 30 days.
const DURATIONS: [f64; 19] = [
    1.0,
    5.0,
    15.0,
    30.0,
    60.0,
    300.0,
    600.0,
    900.0,
    1_800.0,
    3_600.0,
    7_200.0,
    10_800.0,
    21_600.0,
    43_200.0,
    86_400.0,
    172_800.0,
    432_000.0,
    864_000.0,
    2_592_000.0,
];

/// Kind of the values on an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    Count,
    /// Values are seconds, and ticks are whole units of time.
    Duration,
}

impl Scale {
    /// Returns the ticks above zero for values up to `max`; at least one, of which the last is not below `max`.
    pub fn ticks(self, max: f64) -> Vec<f64> {
        let max = if max.is_finite() { max.max(1.0) } else { 1.0 };
        let step = self.step(max / MOST);
        let number = (max / step).ceil().clamp(1.0, MOST + 1.0);
        std::iter::successors(Some(1.0), |n| Some(n + 1.0)).take_while(|n| *n <= number).map(|n| n * step).collect()
    }

    /// The smallest round step that is not below `least`.
    fn step(self, least: f64) -> f64 {
        let longest = DURATIONS[DURATIONS.len() - 1];
        match self {
            Self::Duration if least <= longest => {
                DURATIONS.iter().copied().find(|step| *step >= least).unwrap_or(longest)
            }
            Self::Duration => decimal_step(least / longest) * longest,
            Self::Count => decimal_step(least),
        }
    }
}

/// 1, 2 or 5 times a power of ten, and at least 1.
fn decimal_step(least: f64) -> f64 {
    let power = 10f64.powf(least.max(1.0).log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * power).find(|step| *step >= least).unwrap_or(10.0 * power)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_round() {
        assert_eq!(Scale::Count.ticks(0.0), [1.0]);
        assert_eq!(Scale::Count.ticks(1.0), [1.0]);
        assert_eq!(Scale::Count.ticks(3.0), [1.0, 2.0, 3.0]);
        assert_eq!(Scale::Count.ticks(17.0), [5.0, 10.0, 15.0, 20.0]);
        assert_eq!(Scale::Count.ticks(1_234_567.0), [500_000.0, 1_000_000.0, 1_500_000.0]);
    }

    #[test]
    fn durations_are_units_of_time() {
        assert_eq!(Scale::Duration.ticks(100.0), [30.0, 60.0, 90.0, 120.0]);
        assert_eq!(Scale::Duration.ticks(90_000.0), [43_200.0, 86_400.0, 129_600.0]);
        assert!(Scale::Duration.ticks(3e10).len() <= 5);
    }

    #[test]
    fn largest_value_fits() {
        for max in [0.0, 0.3, 1.0, 7.0, 99.0, 1e5, 1e12, f64::NAN, f64::INFINITY] {
            for scale in [Scale::Count, Scale::Duration] {
                let ticks = scale.ticks(max);
                assert!((1..=5).contains(&ticks.len()), "{max}: {ticks:?}");
                assert!(!max.is_finite() || *ticks.last().unwrap() >= max, "{max}: {ticks:?}");
            }
        }
    }
}
