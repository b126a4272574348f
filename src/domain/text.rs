//! Text that did not come from us: cut at a stated length, without control characters, before it goes anywhere.

use std::fmt::Write as _;

/// Longest foreign text in a message or a column, in characters.
pub const MAX_REASON_CHARS: usize = 2_000;

/// `text` cut to at most `max` characters, the cut marked with `…`; NUL, which Postgres cannot store, becomes U+FFFD.
pub fn cut(text: &str, max: usize) -> String {
    let clean = |c: char| if c == '\0' { char::REPLACEMENT_CHARACTER } else { c };
    if text.chars().nth(max).is_none() {
        return text.chars().map(clean).collect();
    }
    let mut out: String = text.chars().take(max.saturating_sub(1)).map(clean).collect();
    out.push('…');
    out
}

/// [`cut`] at [`MAX_REASON_CHARS`], white space at both ends removed.
pub fn reason(text: &str) -> String {
    cut(text.trim(), MAX_REASON_CHARS)
}

/// What an error and its causes say, in one line: libraries often put the reason into the last cause only.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let said = inner.to_string();
        // Many libraries repeat the cause in their own text already.
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = inner.source();
    }
    text
}

/// Whether a reader sees something else than what is there: control characters, line ends that are none to most programs, characters that turn the
/// direction of reading, and all that Unicode says is to be shown as nothing ("default ignorable"), such as zero-width and tag characters.
/// The two selectors that choose between text and emoji are shown by what they choose.
pub fn misleads(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{2028}' | '\u{2029}' | '\u{fff9}'..='\u{fffb}' | '\u{13430}'..='\u{1343f}'
            // Default_Ignorable_Code_Point of Unicode 16, which all characters that turn the direction are among.
            | '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0d}'
            | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}')
}

/// [`misleads`], but for the two joiners that emoji and several scripts are written with: what a name or a sentence of a person must not have.
pub fn is_unfit_for_names(c: char) -> bool {
    misleads(c) && !matches!(c, '\u{200c}' | '\u{200d}')
}

/// `text` in which every character that [`misleads`] can be seen, as `<U+202E>`; line feeds stay.
pub fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c != '\n' && misleads(c) {
            // Writing to a string does not fail.
            let _ = write!(out, "<U+{:04X}>", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out
}

/// JSON with the same meaning in which no character [`misleads`]: JSON itself asks only for those below U+0020 to be escaped. Without line feeds.
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

    /// One of each kind.
    const MISLEADING: &str = "\u{0}\u{7}\u{8}\t\u{b}\r\u{1b}\u{7f}\u{85}\u{9b}\u{9d}\u{ad}\u{61c}\u{200b}\u{200c}\u{200d}\u{200e}\u{200f}\u{2028}\
        \u{2029}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2060}\u{2066}\u{2067}\u{2068}\u{2069}\u{3164}\u{feff}\u{fff9}\u{e0001}\u{e0041}\u{e007f}\u{e0100}";

    #[test]
    fn what_misleads_is_seen() {
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
    fn json_means_the_same_when_all_of_it_is_seen() {
        let value = serde_json::json!({"message\u{202e}": MISLEADING});
        let written = visible_json(&value.to_string());
        assert!(!written.contains(misleads), "{written}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&written).unwrap(), value);
    }

    #[test]
    fn long_text_is_cut_between_characters_and_marked() {
        assert_eq!(cut("가나다라", 3), "가나…");
        assert_eq!(cut("가나다", 3), "가나다");
        assert_eq!(cut("a\0b", 3), "a\u{fffd}b");
    }
}
