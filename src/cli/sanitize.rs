//! Sanitises text for a terminal. Build output, names and error messages may contain sequences that move the cursor, change the window's title or
//! reverse the reading direction, and would make the terminal show something that did not happen. They are made visible instead.

use crate::domain::text;

/// Longest line that is shown, in characters: the server has the rest.
const MAX_LINE: usize = 2_000;

/// Makes everything in `text` visible that would control a terminal or mislead its reader. Removes colours, keeps line breaks.
pub fn text(text: &str) -> String {
    text::visible(&without_colours(&text.replace('\t', " ").replace("\r\n", "\n")))
}

/// Sanitises `text` into one line of at most [`MAX_LINE`] characters.
pub fn line(text: &str) -> String {
    let flat =
        self::text(text).split('\n').map(str::trim_end).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ");
    text::cut(&flat, MAX_LINE)
}

/// JSON in which control characters and misleading ones are escaped.
pub fn json(value: &serde_json::Value) -> String {
    text::visible_json(&value.to_string())
}

/// Removes complete sequences of the form `ESC [ 1;31 m`: they carry no information, and build tools write hundreds of them.
fn without_colours(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        out.push_str(before);
        rest = after.trim_start_matches(|c: char| c.is_ascii_digit() || matches!(c, ';' | ':'));
        rest = rest.strip_prefix('m').unwrap_or_else(|| {
            out.push_str("\u{1b}[");
            after
        });
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removes_colours_and_shows_control_sequences() {
        assert_eq!(line("\u{1b}[1;31mred\u{1b}[0m \u{1b}[38:5:1mand\u{1b}[m done"), "red and done");
        assert_eq!(line("\u{1b}]0;title\u{7}done\u{8}"), "<U+001B>]0;title<U+0007>done<U+0008>");
        assert_eq!(line("\u{1b}[2J\u{1b}[31\u{1b}[1"), "<U+001B>[2J<U+001B>[31<U+001B>[1");
        assert_eq!(line("99%\rafter\ttab"), "99%<U+000D>after tab");
        assert_eq!(
            line("a\u{202e}b\u{9b}2Jc\u{2066}d\u{200b}\u{e0041}"),
            "a<U+202E>b<U+009B>2Jc<U+2066>d<U+200B><U+E0041>"
        );
    }

    #[test]
    fn sanitising_twice_changes_nothing() {
        let once = text("a\u{202e}\r\u{1b}[31mb\n\u{1b}[2J");
        assert_eq!(text(&once), once);
    }

    #[test]
    fn keeps_line_breaks_in_text() {
        assert_eq!(text("one\r\ntwo\nthree"), "one\ntwo\nthree");
        assert_eq!(line("one\n\ntwo"), "one two");
    }

    #[test]
    fn keeps_korean_text() {
        assert_eq!(line("[Stage 1] Docker 이미지 빌드 완료"), "[Stage 1] Docker 이미지 빌드 완료");
    }

    #[test]
    fn keeps_json_valid() {
        let value = serde_json::json!({"message": "a\u{9b}b\u{1b}[1m\u{202e}\u{e0041}"});
        let written = json(&value);
        assert!(!written.contains(text::misleads));
        assert_eq!(serde_json::from_str::<serde_json::Value>(&written).unwrap(), value);
    }
}
