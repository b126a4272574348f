//! Turns build output into printable lines.

use crate::domain::text;

/// Maximum length of a line, in characters.
const MAX_LINE_CHARS: usize = 4_096;

/// Maximum number of buffered bytes of one line: enough for the longest line with its colour codes. A program that never ends a line must not fill
/// the memory.
const MAX_LINE_BYTES: usize = 8 * MAX_LINE_CHARS;

/// Assembles pieces of output into lines, without ANSI codes and blank lines. Of a line that was overwritten with carriage returns (a progress bar),
/// only the final state is kept.
#[derive(Default)]
pub(super) struct LineAssembler {
    line: String,
    returned: bool,
}

impl LineAssembler {
    /// Accepts the next piece, which may begin and end anywhere, and returns the lines that it completes.
    pub(super) fn push(&mut self, piece: &str) -> Vec<String> {
        let mut whole = Vec::new();
        for c in piece.chars() {
            match c {
                '\n' => whole.extend(self.take()),
                '\r' => self.returned = true,
                c => {
                    // Only now is it certain that the carriage return did not just precede a line feed.
                    if std::mem::take(&mut self.returned) {
                        self.line.clear();
                    }
                    if self.line.len() < MAX_LINE_BYTES {
                        // Tabs would be dropped together with the control characters.
                        match c {
                            '\t' => self.line.push_str("    "),
                            c => self.line.push(c),
                        }
                    }
                }
            }
        }
        whole
    }

    /// Returns the last line if the output does not end with a line feed.
    pub(super) fn finish(mut self) -> Option<String> {
        self.take()
    }

    fn take(&mut self) -> Option<String> {
        self.returned = false;
        let text = strip_control(&std::mem::take(&mut self.line));
        let line = text.trim_end();
        (!line.is_empty()).then(|| text::cut(line, MAX_LINE_CHARS))
    }
}

/// Removes ANSI codes and control characters from `text`.
pub(super) fn strip_control(text: &str) -> String {
    strip_ansi_escapes::strip_str(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[&str]) -> Vec<String> {
        let mut lines = LineAssembler::default();
        let mut all: Vec<String> = pieces.iter().flat_map(|piece| lines.push(piece)).collect();
        all.extend(lines.finish());
        all
    }

    #[test]
    fn joins_pieces_into_lines() {
        assert_eq!(
            lines(&["Step 1/2 : FROM busy", "box:1\n ---> 3f", "57\nend"]),
            ["Step 1/2 : FROM busybox:1", " ---> 3f57", "end"]
        );
    }

    #[test]
    fn drops_colours_and_blank_lines() {
        assert_eq!(lines(&["\u{1b}[31mred\u{1b}[0m\n\n  \n\u{1b}[2K\nplain\n"]), ["red", "plain"]);
    }

    #[test]
    fn keeps_last_state_of_overwritten_line() {
        assert_eq!(lines(&["10%\r50%\r", "100%\r\n", "next\r\n"]), ["100%", "next"]);
    }

    #[test]
    fn expands_tabs() {
        assert_eq!(lines(&["a\tb\n"]), ["a    b"]);
    }

    #[test]
    fn truncates_long_line() {
        let mut lines = LineAssembler::default();
        for _ in 0..100 {
            assert!(lines.push(&"x".repeat(10_000)).is_empty());
        }
        assert!(lines.line.len() <= MAX_LINE_BYTES + 4);
        let line = lines.finish().unwrap();
        assert_eq!(line.chars().count(), MAX_LINE_CHARS);
        assert!(line.ends_with('…'));
    }
}
