//! Answers as tables; in a terminal, with bars for the column that is worth one.

use serde_json::Value;

use crate::cli::clean;
use crate::cli::types::Report;

/// A terminal that shows the table.
#[derive(Clone, Copy, Debug)]
pub struct Terminal {
    /// Its width in characters.
    pub width: usize,
    /// Whether it is to have colours.
    pub colour: bool,
}

/// A bar is not longer, and where there is no room for the shorter there is none.
const BAR: std::ops::RangeInclusive<usize> = 6..=30;

/// Eighths of a character.
const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

/// The rows under their heading, numbers to the right. A column in which nothing is said is left out.
pub fn text(report: &Report, terminal: Option<Terminal>) -> String {
    if report.rows.is_empty() {
        return "nothing\n".to_owned();
    }
    let said = |at: &usize| report.rows.iter().any(|row| row.get(*at).is_some_and(|value| !value.is_null()));
    let columns: Vec<usize> = (0..report.columns.len()).filter(said).collect();
    let heading: Vec<String> = columns.iter().map(|&at| clean::line(&report.columns[at].name)).collect();
    let cells: Vec<Vec<String>> =
        report.rows.iter().map(|row| columns.iter().map(|&at| cell(row.get(at))).collect()).collect();
    let width = |at: usize| {
        let widths = cells.iter().map(|row| row[at].chars().count());
        widths.chain([heading[at].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let numbers: Vec<bool> = columns.iter().map(|&at| report.columns[at].kind == "number").collect();
    let used: usize = widths.iter().map(|width| width + 2).sum();
    let bars = terminal.map_or_else(Vec::new, |terminal| bars(report, terminal, used));
    let line = |row: &[String], bar: Option<&String>| {
        let cells = row.iter().zip(&widths).zip(&numbers);
        let padded = cells.map(
            |((cell, &width), &number)| {
                if number { format!("{cell:>width$}  ") } else { format!("{cell:<width$}  ") }
            },
        );
        let mut line: String = padded.collect();
        line += bar.map_or("", String::as_str);
        format!("{}\n", line.trim_end())
    };
    let mut table = line(&heading, None);
    for (at, row) in cells.iter().enumerate() {
        table += &line(row, bars.get(at));
    }
    table
}

/// A bar for each row; none where there is no column for them, or no room.
fn bars(report: &Report, terminal: Terminal, used: usize) -> Vec<String> {
    let room = terminal.width.saturating_sub(used + 1).min(*BAR.end());
    let column = report.chart.as_ref().and_then(|name| report.columns.iter().position(|column| column.name == *name));
    let Some(at) = column.filter(|_| BAR.contains(&room)) else { return Vec::new() };
    let values: Vec<f64> = report.rows.iter().map(|row| row.get(at).and_then(Value::as_f64).unwrap_or(0.0)).collect();
    let most = values.iter().copied().fold(0.0, f64::max);
    values.iter().map(|value| bar(*value, most, room, terminal.colour)).collect()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a few hundred eighths at most"
)]
fn bar(value: f64, most: f64, room: usize, colour: bool) -> String {
    if most <= 0.0 || value <= 0.0 {
        return String::new();
    }
    // What is there is seen.
    let eighths = ((value / most * (room * 8) as f64).round() as usize).clamp(1, room * 8);
    let bar = format!("{}{}", "█".repeat(eighths / 8), EIGHTHS[eighths % 8]);
    if colour { format!("\u{1b}[36m{bar}\u{1b}[0m") } else { bar }
}

fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => clean::line(text),
        Some(other) => clean::json(other),
    }
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
    fn elsewhere_than_in_a_terminal_it_is_a_plain_table() {
        assert_eq!(text(&report(), None), "repo    n\nshop   16\nw     1.5\napi     -\n");
        let nothing = Report { rows: Vec::new(), ..report() };
        assert_eq!(text(&nothing, None), "nothing\n");
    }

    #[test]
    fn in_a_terminal_bars_are_as_long_as_the_values_and_the_room() {
        let terminal = Terminal { width: 20, colour: false };
        assert_eq!(text(&report(), Some(terminal)), "repo    n\nshop   16  ████████\nw     1.5  ▊\napi     -\n");
        let wide = text(&report(), Some(Terminal { width: 200, colour: false }));
        assert_eq!(wide.matches('█').count(), 30 + 2, "{wide}");
        let narrow = text(&report(), Some(Terminal { width: 14, colour: true }));
        assert_eq!(narrow, text(&report(), None));
    }

    #[test]
    fn colours_are_for_bars_alone() {
        let shown = text(&report(), Some(Terminal { width: 20, colour: true }));
        assert!(shown.contains("\u{1b}[36m████████\u{1b}[0m\n"), "{shown:?}");
        assert!(shown.starts_with("repo    n\n"));
    }
}
