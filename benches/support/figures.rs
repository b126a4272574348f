//! Statistics of measurements, and the table in which they are printed.

/// Returns the value below which `share` of `values` lie.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index below the length")]
pub fn percentile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[((sorted.len() - 1) as f64 * share) as usize]
}

pub fn median(values: &[f64]) -> f64 {
    percentile(values, 0.5)
}

/// Prints one line of a bench's table.
pub fn line(figure: &str, measured: impl std::fmt::Display, to_reach: &str) {
    println!("{figure:<58} {measured:>16} {to_reach:>14}");
}

pub fn head() {
    line("figure", "measured", "to reach");
}

/// Reads a whole number of seconds from the environment, for longer or shorter runs.
pub fn seconds(variable: &str, default: u64) -> std::time::Duration {
    std::time::Duration::from_secs(number(variable, default))
}

/// Reads a whole number from the environment, for larger or smaller runs.
pub fn number<T: std::str::FromStr>(variable: &str, default: T) -> T {
    std::env::var(variable)
        .ok()
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{variable} is {text:?}: give a whole number")))
}
