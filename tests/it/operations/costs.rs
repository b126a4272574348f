//! The sums in docs/operations-sizing.md are what their calculations give.

use panda_testing::text;

/// Evaluates sums of products and quotients, such as `1.00 + 1,000 × 10 × 0.03 / 10,000`.
fn evaluated(calculation: &str) -> f64 {
    let number = |text: &str| text.trim().replace(',', "").parse::<f64>().unwrap();
    let term = |term: &str| {
        term.split('×')
            .map(|factor| {
                let mut parts = factor.split('/').map(number);
                let first = parts.next().unwrap();
                parts.fold(first, |quotient, divisor| quotient / divisor)
            })
            .product::<f64>()
    };
    calculation.split('+').map(term).sum()
}

#[test]
fn costs__sums_follow_from_their_calculations() {
    let page = text("docs/operations-sizing.md");
    let mut checked = 0;
    for line in page.lines().filter(|line| line.contains(" × ") && line.starts_with("| ")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [_, calculation, sum] = cells[..] else { panic!("{line}") };
        let sum: f64 = sum.trim_end_matches([' ', '|']).parse().unwrap();
        let exact = evaluated(calculation);
        assert!((exact - sum).abs() <= 0.006_f64.min(exact * 0.5), "{line}: {exact}");
        checked += 1;
    }
    assert!(checked >= 7, "{checked}");
}
