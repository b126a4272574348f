//! Text from external services: truncated to a stated length and freed of misleading characters before it is stored, logged or shown.

use std::fmt::Write as _;

/// Longest text from an external service in a message or a column, in characters.
pub const MAX_REASON_CHARS: usize = 2_000;

/// Truncates `text` to at most `max` characters and marks the cut with `…`. Replaces NUL, which Postgres cannot store, by U+FFFD. The only truncation
/// of texts in the crate.
pub fn cut(text: &str, max: usize) -> String {
    let clean = |c: char| if c == '\0' { char::REPLACEMENT_CHARACTER } else { c };
    if text.chars().nth(max).is_none() {
        return text.chars().map(clean).collect();
    }
    let mut out: String = text.chars().take(max.saturating_sub(1)).map(clean).collect();
    out.push('…');
    out
}

/// Trims white space at both ends and truncates to [`MAX_REASON_CHARS`].
pub fn reason(text: &str) -> String {
    cut(text.trim(), MAX_REASON_CHARS)
}

/// Makes one line of a text of others: white space collapses to single spaces, each other character that [`misleads`] becomes U+FFFD, and the line is
/// cut to `max` characters. None for an empty line.
pub fn one_line(text: &str, max: usize) -> Option<String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let unfit = |c: char| if is_unfit_for_names(c) { char::REPLACEMENT_CHARACTER } else { c };
    let line: String = words.join(" ").chars().map(unfit).collect();
    (!line.is_empty()).then(|| cut(&line, max))
}

/// As [`one_line`], for the name of a commit's author. Git permits an address as a name: of that, only the part before `@` is kept.
pub fn author_name(name: &str, max: usize) -> Option<String> {
    let words = name.split_whitespace().filter(|word| !word.starts_with('<'));
    let words: Vec<&str> = words.filter_map(|word| word.split('@').next()).filter(|word| !word.is_empty()).collect();
    one_line(&words.join(" "), max)
}

/// Joins an error and its causes in one line. Libraries often put the actual reason into the last cause only. The only printer of causes in the crate.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let message = inner.to_string();
        // Many libraries already repeat the cause in their own text.
        if !text.contains(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        cause = inner.source();
    }
    text
}

/// Returns true for a character that makes text look different from its content: control characters, line separators that most programs do
/// not treat as line ends, characters that change the text direction, and all characters that Unicode declares invisible ("default
/// ignorable"), such as zero-width and tag characters. The two selectors between text and emoji style are not misleading: they show in the
/// style that they select.
pub fn misleads(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{2028}' | '\u{2029}' | '\u{fff9}'..='\u{fffb}' | '\u{13430}'..='\u{1343f}'
            // Default_Ignorable_Code_Point of Unicode 16, which includes all characters that change the text direction.
            | '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0d}'
            | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}')
}

/// Returns true for a character that names and free texts of users must not contain: all that [`misleads`], except the two joiners that
/// emoji and several scripts need.
pub fn is_unfit_for_names(c: char) -> bool {
    misleads(c) && !matches!(c, '\u{200c}' | '\u{200d}')
}

/// Replaces every character that [`misleads`] by a visible form such as `<U+202E>`; keeps line feeds.
pub fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c != '\n' && misleads(c) {
            // Writing to a `String` cannot fail.
            let _ = write!(out, "<U+{:04X}>", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out
}

/// Escapes every character of a JSON text that [`misleads`], line feeds included, without changing its meaning. JSON itself requires this
/// only below U+0020.
pub fn visible_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if misleads(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Misleading characters of every kind.
    const MISLEADING: &str = "\u{0}\u{7}\u{8}\t\u{b}\r\u{1b}\u{7f}\u{85}\u{9b}\u{9d}\u{ad}\u{61c}\u{200b}\u{200c}\u{200d}\u{200e}\u{200f}\u{2028}\
        \u{2029}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2060}\u{2066}\u{2067}\u{2068}\u{2069}\u{3164}\u{feff}\u{fff9}\u{e0001}\u{e0041}\u{e007f}\u{e0100}";

    #[test]
    fn shows_misleading_characters() {
        for c in MISLEADING.chars() {
            assert_eq!(visible(&format!("a{c}b")), format!("a<U+{:04X}>b", u32::from(c)));
        }
        assert_eq!(visible("one\ntwo"), "one\ntwo");
        for honest in
            ["[Stage 1] Docker 이미지 빌드 완료", "日本語 ✓ ★ é e\u{301} ❤\u{fe0f} 🐼", "عربي עברית", "\u{a0}\u{3000}"]
        {
            assert_eq!(visible(honest), honest);
        }
    }

    #[test]
    fn visible_json_keeps_its_meaning() {
        let value = serde_json::json!({"message\u{202e}": MISLEADING});
        let written = visible_json(&value.to_string());
        assert!(!written.contains(misleads), "{written}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&written).unwrap(), value);
    }

    #[test]
    fn truncates_between_characters_and_marks_the_cut() {
        assert_eq!(cut("가나다라", 3), "가나…");
        assert_eq!(cut("가나다", 3), "가나다");
        assert_eq!(cut("a\0b", 3), "a\u{fffd}b");
    }

    #[test]
    fn one_line_of_others_is_bounded_and_shows_what_it_is() {
        assert_eq!(one_line(" Fix\tthe \u{1b}[31mcart\r\n", 200).unwrap(), "Fix the \u{fffd}[31mcart");
        assert_eq!(one_line("a\u{202e}b 가나다", 5).unwrap(), "a\u{fffd}b …");
        assert_eq!(one_line(" \n\t", 200), None);
    }

    #[test]
    fn author_name_holds_no_address() {
        assert_eq!(author_name("김 판다", 100).unwrap(), "김 판다");
        assert_eq!(author_name("Jane Doe <jane@example.com>", 100).unwrap(), "Jane Doe");
        assert_eq!(author_name("jane.doe@example.com", 100).unwrap(), "jane.doe");
        assert_eq!(author_name("@example.com", 100), None);
        assert_eq!(author_name(&"가".repeat(101), 100).unwrap().chars().count(), 100);
    }

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Caused {
        text: &'static str,
        source: Option<Box<Self>>,
    }

    #[test]
    fn joins_causes_that_the_message_lacks() {
        let caused = |text, source: Option<Caused>| Caused { text, source: source.map(Box::new) };
        let refused = caused("connection refused", None);
        assert_eq!(chain(&refused), "connection refused");
        let repeated = caused("sending failed: connection refused", Some(refused));
        assert_eq!(chain(&repeated), "sending failed: connection refused");
        assert_eq!(chain(&caused("no answer", Some(repeated))), "no answer: sending failed: connection refused");
    }
}
