//! Text from a server on its way to a terminal: build output and error messages may hold sequences that move the cursor, change
//! the window's title or reverse the reading direction, and would make the terminal show something that did not happen.

use std::fmt::Write as _;

/// Longest single line that is shown, in characters: the rest of it is on the server.
const MAX_LINE: usize = 2_000;

/// `text` without escape sequences and control characters; line breaks stay.
pub fn text(text: &str) -> String {
    let visible = strip_ansi_escapes::strip_str(text.replace('\t', " ").replace("\r\n", "\n").replace('\r', "\n"));
    visible.chars().filter(|&c| c == '\n' || !steers(c)).collect()
}

/// [`text`] in one line, cut at a length that no honest line has.
pub fn line(text: &str) -> String {
    let flat =
        self::text(text).split('\n').map(str::trim_end).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ");
    crate::domain::text::cut(&flat, MAX_LINE)
}

/// JSON in which no raw control character is left: those above ASCII are escaped too, which JSON itself does not ask for.
pub fn json(value: &serde_json::Value) -> String {
    let mut out = String::new();
    for c in value.to_string().chars() {
        if steers(c) {
            // Writing to a string does not fail.
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out
}

/// Control characters, and those that change the direction of what follows.
fn steers(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_titles_and_cursor_moves_are_gone() {
        assert_eq!(line("\u{1b}[31mred\u{1b}[0m \u{1b}]0;title\u{7}done\u{8}"), "red done");
        assert_eq!(line("100%\rafter\ttab"), "100% after tab");
        assert_eq!(line("a\u{202e}b\u{9b}c"), "abc");
    }

    #[test]
    fn line_breaks_stay_where_several_lines_are_wanted() {
        assert_eq!(text("one\r\ntwo\nthree"), "one\ntwo\nthree");
        assert_eq!(line("one\n\ntwo"), "one two");
    }

    #[test]
    fn korean_text_is_untouched() {
        assert_eq!(line("[Stage 1] Docker 이미지 빌드 완료"), "[Stage 1] Docker 이미지 빌드 완료");
    }

    #[test]
    fn json_stays_json() {
        let value = serde_json::json!({"message": "a\u{9b}b\u{1b}[1m\u{202e}"});
        let written = json(&value);
        assert!(!written.chars().any(steers));
        assert_eq!(serde_json::from_str::<serde_json::Value>(&written).unwrap(), value);
    }
}
