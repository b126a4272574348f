//! Text that did not come from us: cut at a stated length, without control characters, before it goes anywhere.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_is_cut_between_characters_and_marked() {
        assert_eq!(cut("가나다라", 3), "가나…");
        assert_eq!(cut("가나다", 3), "가나다");
        assert_eq!(cut("a\0b", 3), "a\u{fffd}b");
    }
}
