//! Formats reports as tables; in a terminal, with bars for the report's chart column.

use serde_json::Value;

use crate::cli::sanitize;
use crate::cli::table::{align, cell};
use crate::cli::types::Report;

/// Properties of the terminal that shows the table.
#[derive(Clone, Copy, Debug)]
pub struct Terminal {
    pub width: usize,
    /// True to use colours (`NO_COLOR` is unset).
    pub colour: bool,
}

/// Shortest and longest bar, in characters. Bars are omitted when less space than the shortest is left.
const BAR: std::ops::RangeInclusive<usize> = 6..=30;

/// Blocks of zero to seven eighths of a character.
const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

/// Formats the rows under a heading, numbers right-aligned. Omits columns of names without any value, such as the branch in a report on repositories;
/// figures are always shown.
pub fn text(report: &Report, terminal: Option<Terminal>, none: &str) -> String {
    if report.rows.is_empty() {
        return format!("{none}\n");
    }
    let has_value = |at: &usize| {
        report.columns[*at].kind == "number"
            || report.rows.iter().any(|row| row.get(*at).is_some_and(|value| !value.is_null()))
    };
    let columns: Vec<usize> = (0..report.columns.len()).filter(has_value).collect();
    let heading: Vec<String> = columns.iter().map(|&at| sanitize::line(&report.columns[at].name)).collect();
    let cells =
        report.rows.iter().map(|row| columns.iter().map(|&at| cell(row.get(at).unwrap_or(&Value::Null))).collect());
    let numbers: Vec<bool> = columns.iter().map(|&at| report.columns[at].kind == "number").collect();
    let lines = align(std::iter::once(heading).chain(cells), &numbers);
    // Names of columns are ASCII, and the heading is padded to the full width.
    let used = lines.first().map_or(0, |line| line.chars().count());
    let bars = terminal.map_or_else(Vec::new, |terminal| bars(report, terminal, used));
    let bar = |at: usize| at.checked_sub(1).and_then(|row| bars.get(row)).map_or("", String::as_str);
    let lines: Vec<String> =
        lines.iter().enumerate().map(|(at, line)| format!("{line}{}", bar(at)).trim_end().to_owned() + "\n").collect();
    lines.concat()
}

/// One bar per row; empty when the report has no chart column, or too little space is left.
fn bars(report: &Report, terminal: Terminal, used: usize) -> Vec<String> {
    let space = terminal.width.saturating_sub(used + 1).min(*BAR.end());
    let column = report.chart.as_ref().and_then(|name| report.columns.iter().position(|column| column.name == *name));
    let Some(at) = column.filter(|_| BAR.contains(&space)) else { return Vec::new() };
    let values: Vec<f64> = report.rows.iter().map(|row| row.get(at).and_then(Value::as_f64).unwrap_or(0.0)).collect();
    let most = values.iter().copied().fold(0.0, f64::max);
    values.iter().map(|value| bar(*value, most, space, terminal.colour)).collect()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a few hundred eighths at most"
)]
fn bar(value: f64, most: f64, space: usize, colour: bool) -> String {
    if most <= 0.0 || value <= 0.0 {
        return String::new();
    }
    // Values above zero always show at least one eighth.
    let eighths = ((value / most * (space * 8) as f64).round() as usize).clamp(1, space * 8);
    let bar = format!("{}{}", "█".repeat(eighths / 8), EIGHTHS[eighths % 8]);
    if colour { format!("\u{1b}[36m{bar}\u{1b}[0m") } else { bar }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::types::ReportColumn;
    use pretty_assertions::assert_eq;
    use serde_json::json;

    fn report() -> Report {
        let column = |name: &str, kind: &str| ReportColumn { name: name.to_owned(), kind: kind.to_owned() };
        Report {
            title: String::new(),
            about: String::new(),
            chart: Some("n".to_owned()),
            since: String::new(),
            until: String::new(),
            columns: vec![column("repo", "text"), column("branch", "text"), column("n", "number")],
            rows: serde_json::from_value(json!([["shop", null, 16], ["w\u{1b}[1m", null, 1.5], ["api", null, null]]))
                .unwrap(),
            truncated: false,
        }
    }

    #[test]
    fn formats_a_plain_table_without_terminal() {
        assert_eq!(text(&report(), None, "nothing"), "repo    n\nshop   16\nw     1.5\napi     -\n");
        let nothing = Report { rows: Vec::new(), ..report() };
        assert_eq!(text(&nothing, None, "nothing"), "nothing\n");
    }

    #[test]
    fn shows_figures_without_value() {
        let column = |name: &str, kind: &str| ReportColumn { name: name.to_owned(), kind: kind.to_owned() };
        let dora = Report {
            columns: vec![column("month", "date"), column("owner", "text"), column("time_to_restore_hours", "number")],
            rows: vec![vec![json!("2026-01-01"), Value::Null, Value::Null]],
            ..report()
        };
        assert_eq!(text(&dora, None, ""), "month       time_to_restore_hours\n2026-01-01                      -\n");
    }

    #[test]
    fn scales_bars_to_the_terminal() {
        let terminal = Terminal { width: 20, colour: false };
        assert_eq!(text(&report(), Some(terminal), ""), "repo    n\nshop   16  ████████\nw     1.5  ▊\napi     -\n");
        let wide = text(&report(), Some(Terminal { width: 200, colour: false }), "");
        assert_eq!(wide.matches('█').count(), 30 + 2, "{wide}");
        let narrow = text(&report(), Some(Terminal { width: 14, colour: true }), "");
        assert_eq!(narrow, text(&report(), None, "nothing"));
    }

    #[test]
    fn colours_only_bars() {
        let shown = text(&report(), Some(Terminal { width: 20, colour: true }), "");
        assert!(shown.contains("\u{1b}[36m████████\u{1b}[0m\n"), "{shown:?}");
        assert!(shown.starts_with("repo    n\n"));
    }
}
