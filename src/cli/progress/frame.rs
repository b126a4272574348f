//! The lines at the bottom of a terminal that show a deployment's progress, as text: no line is wider than the terminal.

use std::collections::VecDeque;
use std::time::Duration;

use unicode_width::UnicodeWidthChar as _;

/// Length of the bar: steps 1 and 2, then stages 1 to 4.
pub const MILESTONES: u64 = 6;
/// Lines of build output that stay visible.
const TAIL_LINES: usize = 5;
/// Widest bar, in columns.
const BAR: usize = 30;
const SPINNER: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];

const CYAN: &str = "\u{1b}[36m";
const DIM: &str = "\u{1b}[2m";
const RESET: &str = "\u{1b}[0m";

/// Columns and rows of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    pub columns: usize,
    pub rows: usize,
}

/// Content of the lines.
#[derive(Debug, Default)]
pub struct ProgressArea {
    /// Milestones reached, of [`MILESTONES`].
    pub reached: u64,
    /// Present activity of the deployment.
    pub now: String,
    tail: VecDeque<String>,
}

impl ProgressArea {
    /// Adds a line of build output.
    pub fn push_output(&mut self, line: String) {
        if self.tail.len() == TAIL_LINES {
            self.tail.pop_front();
        }
        self.tail.push_back(line);
    }

    /// Removes the build output.
    pub fn clear_output(&mut self) {
        self.tail.clear();
    }

    /// The lines for a terminal of this size, without line ends: fewer than it has rows, each narrower than it.
    pub fn frame(&self, size: Size, elapsed: Duration, tick: usize, colour: bool) -> Vec<Line> {
        // The last column stays free: terminals differ in where the cursor is after it.
        let columns = size.columns.saturating_sub(1);
        let mut lines = vec![self.stages(columns, elapsed, colour)];
        let spinner = SPINNER[tick % SPINNER.len()];
        lines.push(Line::new(&[(CYAN, spinner), ("", " "), ("", self.now.as_str())], columns, colour));
        lines.extend(self.tail.iter().map(|line| Line::new(&[("", "  "), (DIM, line.as_str())], columns, colour)));
        // The cursor is on the row below.
        lines.truncate(size.rows.saturating_sub(1));
        lines
    }

    fn stages(&self, columns: usize, elapsed: Duration, colour: bool) -> Line {
        let seconds = elapsed.as_secs();
        let clock = format!("{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60);
        let count = format!("{}/{MILESTONES} ", self.reached);
        let space = columns.saturating_sub(count.len() + clock.len() + 1).min(BAR);
        let done = usize::try_from(self.reached.min(MILESTONES)).unwrap_or_default() * space / 6;
        let (full, rest) = ("█".repeat(done), "░".repeat(space - done));
        let gap = if space > 0 { " " } else { "" };
        Line::new(
            &[(CYAN, full.as_str()), (DIM, rest.as_str()), ("", gap), ("", count.as_str()), (DIM, clock.as_str())],
            columns,
            colour,
        )
    }
}

/// A line with the number of its columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub text: String,
    pub columns: usize,
}

impl Line {
    /// Joins parts, each with its colour, up to `columns`.
    fn new(parts: &[(&str, &str)], columns: usize, colour: bool) -> Self {
        let mut line = Self { text: String::new(), columns: 0 };
        for (style, part) in parts {
            let (part, width) = cut(part, columns - line.columns);
            let styled = colour && !style.is_empty() && !part.is_empty();
            line.text.extend(if styled { [style, part.as_str(), RESET] } else { ["", part.as_str(), ""] });
            line.columns += width;
        }
        line
    }
}

/// The beginning of `text` that fits into `columns`, and its width. A cut is marked with `…`.
fn cut(text: &str, columns: usize) -> (String, usize) {
    let width = |c: char| c.width().unwrap_or(0);
    let whole: usize = text.chars().map(width).sum();
    if whole <= columns {
        return (text.to_owned(), whole);
    }
    let Some(limit) = columns.checked_sub(1) else { return (String::new(), 0) };
    let (mut kept, mut used) = (String::new(), 0);
    for c in text.chars() {
        if used + width(c) > limit {
            break;
        }
        kept.push(c);
        used += width(c);
    }
    kept.push('…');
    (kept, used + 1)
}

/// The text that removes `drawn` from a terminal that is now `columns` wide, with the cursor on the row below. A terminal that has become narrower has
/// wrapped its lines.
pub fn erase(drawn: &[Line], columns: usize) -> String {
    let rows: usize = drawn.iter().map(|line| line.columns.div_ceil(columns.max(1)).max(1)).sum();
    if rows == 0 { String::new() } else { format!("\r\u{1b}[{rows}A\u{1b}[J") }
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
