//! Turns build output into printable lines.

use vte::{Params, Parser, Perform};

use crate::domain::text;

/// Maximum length of a line, in characters.
const MAX_LINE_CHARS: usize = 4_096;

/// Maximum number of buffered bytes of one line: enough for the longest line with its colour codes. A program that never ends a line must not fill
/// the memory.
const MAX_LINE_BYTES: usize = 8 * MAX_LINE_CHARS;

/// A line of a build's output, as it is published.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutputLine {
    /// The text, without control characters.
    pub text: String,
    /// The same text with its colours: of all ANSI sequences only "select graphic rendition" (`ESC [ … m`) is kept. None for a line without colours.
    pub ansi: Option<String>,
}

impl From<String> for OutputLine {
    fn from(text: String) -> Self {
        Self { text, ansi: None }
    }
}

/// Assembles pieces of output into lines, without ANSI codes and blank lines. Of a line that was overwritten with carriage returns (a progress bar),
/// only the final state is kept.
#[derive(Default)]
pub(super) struct LineAssembler {
    line: String,
    returned: bool,
}

impl LineAssembler {
    /// Accepts the next piece, which may begin and end anywhere, and returns the lines that it completes.
    pub(super) fn push(&mut self, piece: &str) -> Vec<OutputLine> {
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
    pub(super) fn finish(mut self) -> Option<OutputLine> {
        self.take()
    }

    fn take(&mut self) -> Option<OutputLine> {
        self.returned = false;
        let raw = std::mem::take(&mut self.line);
        let whole = strip_control(&raw);
        let line = whole.trim_end();
        (!line.is_empty()).then(|| {
            let text = text::cut(line, MAX_LINE_CHARS);
            let ansi = raw.contains("\u{1b}[").then(|| coloured(&raw, &text)).flatten();
            OutputLine { text, ansi }
        })
    }
}

/// Returns `text` with the colours that it has in `raw`, of which it is the beginning; none without colours.
fn coloured(raw: &str, text: &str) -> Option<String> {
    let mut colours = Colours {
        rest: text,
        out: String::with_capacity(raw.len()),
        pending: String::new(),
        selects: false,
        any: false,
    };
    Parser::new().advance(&mut colours, raw.as_bytes());
    // The mark of a cut line is not in `raw`.
    let out = colours.out + colours.rest;
    colours.any.then_some(out)
}

/// Copies text, and of ANSI sequences only colours.
struct Colours<'a> {
    /// Characters of the text that are not copied yet.
    rest: &'a str,
    out: String,
    /// The sequences before the next character; dropped if none follows.
    pending: String,
    /// One of the pending sequences is not a reset.
    selects: bool,
    /// A sequence other than a reset was copied.
    any: bool,
}

impl Perform for Colours<'_> {
    fn print(&mut self, c: char) {
        let Some(rest) = self.rest.strip_prefix(c) else { return };
        self.rest = rest;
        self.any |= std::mem::take(&mut self.selects);
        self.out.push_str(&std::mem::take(&mut self.pending));
        self.out.push(c);
    }

    fn csi_dispatch(&mut self, params: &Params, intermediates: &[u8], ignore: bool, action: char) {
        if action != 'm' || !intermediates.is_empty() || ignore {
            return;
        }
        let numbers = |parts: &[u16]| parts.iter().map(u16::to_string).collect::<Vec<_>>().join(":");
        let codes = params.iter().map(numbers).collect::<Vec<_>>().join(";");
        if self.rest.is_empty() {
            return;
        }
        if codes == "0" {
            // What was selected before it shows on no character.
            self.pending.clear();
        }
        self.selects = codes != "0";
        self.pending.push_str("\u{1b}[");
        self.pending.push_str(&codes);
        self.pending.push('m');
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
        let mut all: Vec<OutputLine> = pieces.iter().flat_map(|piece| lines.push(piece)).collect();
        all.extend(lines.finish());
        all.into_iter().map(|line| line.text).collect()
    }

    fn colours(raw: &str) -> Option<String> {
        let mut lines = LineAssembler::default();
        let whole = lines.push(raw).pop().or_else(|| lines.finish());
        whole.unwrap().ansi
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
        let line = lines.finish().unwrap().text;
        assert_eq!(line.chars().count(), MAX_LINE_CHARS);
        assert!(line.ends_with('…'));
    }

    #[test]
    fn keeps_colours_beside_the_text() {
        assert_eq!(
            colours("\u{1b}[1;31mred\u{1b}[m and \u{1b}[38:5:208morange\u{1b}[0m  \n").unwrap(),
            "\u{1b}[1;31mred\u{1b}[0m and \u{1b}[38:5:208morange"
        );
        // A reset alone is no colour, and neither is one that shows on no character.
        for plain in ["plain", "\u{1b}[0mplain\u{1b}[0m", "plain\u{1b}[31m\n", "\u{1b}[2K\u{1b}[1Gplain", "\u{1b}"] {
            assert_eq!(colours(&format!("x{plain}")), None, "{plain:?}");
        }
        // Of a line that rewrites itself, the colours of its last state.
        assert_eq!(colours("\u{1b}[31m10%\r\u{1b}[2K\u{1b}[32m100%\r\n").unwrap(), "\u{1b}[32m100%");
    }

    #[test]
    fn keeps_no_other_sequence() {
        let tricks = "\u{1b}]8;;https://evil.example\u{7}link\u{1b}]8;;\u{7}\u{1b}[10A\u{1b}[31mup\u{1b}[2J\u{1b}[?25l\u{1b}P1$tx\u{1b}\\end\u{1b}[>4m\u{1b}[3";
        let mut lines = LineAssembler::default();
        assert!(lines.push(tricks).is_empty());
        let line = lines.finish().unwrap();
        assert_eq!((line.text.as_str(), line.ansi.as_deref()), ("linkupend", Some("link\u{1b}[31mupend")));
    }

    #[test]
    fn cuts_text_and_colours_alike() {
        let mut lines = LineAssembler::default();
        let raw = (0..5_000).map(|n| format!("\u{1b}[3{}mx", n % 8)).collect::<Vec<_>>().concat();
        let line = lines.push(&format!("{raw}\n")).remove(0);
        let ansi = line.ansi.unwrap();
        assert_eq!(strip_control(&ansi), line.text);
        assert!(line.text.ends_with('…') && ansi.ends_with('…'));
    }
}
