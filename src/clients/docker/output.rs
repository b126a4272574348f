//! What a build prints, as lines that are fit to be shown.

use super::super::error::cut;

/// The longest line that is kept, in characters.
const LONGEST_LINE: usize = 4_096;

/// The most bytes of one line that are held: enough for the longest line with its colour codes. A program that never ends
/// its line must not fill the memory.
const MOST_BYTES: usize = 8 * LONGEST_LINE;

/// Collects pieces of output into whole lines: no ANSI codes, no blank lines, of a line that was overwritten with carriage
/// returns (a progress bar) only what stood there last.
#[derive(Default)]
pub(in crate::clients) struct Lines {
    line: String,
    returned: bool,
}

impl Lines {
    /// Takes the next piece, which may begin and end anywhere; gives the lines that it completes.
    pub(in crate::clients) fn push(&mut self, piece: &str) -> Vec<String> {
        let mut whole = Vec::new();
        for c in piece.chars() {
            match c {
                '\n' => whole.extend(self.take()),
                '\r' => self.returned = true,
                c => {
                    // Only now is it certain that the return did not merely precede a line feed.
                    if std::mem::take(&mut self.returned) {
                        self.line.clear();
                    }
                    if self.line.len() < MOST_BYTES {
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

    /// The last line, when the output does not end with a line feed.
    pub(in crate::clients) fn finish(mut self) -> Option<String> {
        self.take()
    }

    fn take(&mut self) -> Option<String> {
        self.returned = false;
        let plain = plain(&std::mem::take(&mut self.line));
        let line = plain.trim_end();
        (!line.is_empty()).then(|| cut(line, LONGEST_LINE))
    }
}

/// `text` without ANSI codes and control characters.
pub(in crate::clients) fn plain(text: &str) -> String {
    strip_ansi_escapes::strip_str(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[&str]) -> Vec<String> {
        let mut lines = Lines::default();
        let mut all: Vec<String> = pieces.iter().flat_map(|piece| lines.push(piece)).collect();
        all.extend(lines.finish());
        all
    }

    #[test]
    fn pieces_become_lines_wherever_they_are_cut() {
        assert_eq!(
            lines(&["Step 1/2 : FROM busy", "box:1\n ---> 3f", "57\nend"]),
            ["Step 1/2 : FROM busybox:1", " ---> 3f57", "end"]
        );
    }

    #[test]
    fn colours_and_blank_lines_are_left_out() {
        assert_eq!(lines(&["\u{1b}[31mred\u{1b}[0m\n\n  \n\u{1b}[2K\nplain\n"]), ["red", "plain"]);
    }

    #[test]
    fn of_an_overwritten_line_the_last_state_stays() {
        assert_eq!(lines(&["10%\r50%\r", "100%\r\n", "next\r\n"]), ["100%", "next"]);
    }

    #[test]
    fn a_tab_becomes_spaces() {
        assert_eq!(lines(&["a\tb\n"]), ["a    b"]);
    }

    #[test]
    fn a_long_line_is_cut_with_a_mark_and_never_held_whole() {
        let mut lines = Lines::default();
        for _ in 0..100 {
            assert!(lines.push(&"x".repeat(10_000)).is_empty());
        }
        assert!(lines.line.len() <= MOST_BYTES + 4);
        let line = lines.finish().unwrap();
        assert_eq!(line.chars().count(), LONGEST_LINE);
        assert!(line.ends_with("… (cut)"));
    }
}
