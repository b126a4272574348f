//! Numbers and durations as people read them.

use crate::http::page::context::Page;

/// A whole number with separators of thousands.
pub fn number(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut out = String::with_capacity(digits.len() + digits.len() / 3 + 1);
    if value <= -0.5 {
        out.push('-');
    }
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A whole number in the space of an axis: `950`, `12k`, `1.5M`.
pub fn short_number(value: f64) -> String {
    for (size, unit) in [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")] {
        if value >= size {
            let unit_size = if size < 1e6 { 1e3 } else { size };
            let text = format!("{:.1}", value / unit_size);
            return format!("{}{unit}", text.trim_end_matches(".0"));
        }
    }
    number(value)
}

/// A duration without a second unit of zero: `12 h` and `1 d 12 h`.
pub fn short_duration(page: &Page, seconds: f64) -> String {
    for (size, above, name) in
        [(86_400.0, f64::INFINITY, "unit.d"), (3_600.0, 86_400.0, "unit.h"), (60.0, 3_600.0, "unit.m")]
    {
        if seconds >= size && seconds < above && seconds % size == 0.0 {
            return page.fill(name, &[("n", &number(seconds / size))]);
        }
    }
    page.duration(&seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_separated() {
        let shown: Vec<String> = [0.0, 999.0, 1_000.0, 1_234_567.4, -1_000.0].into_iter().map(number).collect();
        assert_eq!(shown, ["0", "999", "1,000", "1,234,567", "-1,000"]);
    }

    #[test]
    fn axis_numbers_are_short() {
        let shown: Vec<String> =
            [0.0, 9_500.0, 12_000.0, 12_500.0, 1_500_000.0, 2e9].into_iter().map(short_number).collect();
        assert_eq!(shown, ["0", "9,500", "12k", "12.5k", "1.5M", "2G"]);
    }
}
