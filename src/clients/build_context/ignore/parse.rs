//! Parses the content of an ignore file into patterns.

use super::{IgnoreError, MAX_PATTERN_BYTES, MAX_PATTERNS};

/// A pattern ready for comparison with paths: relative, cleaned, without its `!`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Line number in the file, starting at 1.
    pub number: usize,
    /// Text of the pattern.
    pub pattern: String,
    /// Set when the line begins with `!`.
    pub exception: bool,
}

/// Parses the patterns of an ignore file, in order.
pub(super) fn parse(bytes: &[u8]) -> Result<Vec<Line>, IgnoreError> {
    const BOM: &[u8] = b"\xef\xbb\xbf";
    let bytes = bytes.strip_prefix(BOM).unwrap_or(bytes);
    let mut lines = Vec::new();
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let number = index + 1;
        // Comments start in the first column, and may be in any encoding.
        if line.starts_with(b"#") {
            continue;
        }
        let line = str::from_utf8(line).map_err(|_| IgnoreError::NotText { line: number })?.trim();
        if line.is_empty() {
            continue;
        }
        if line.len() > MAX_PATTERN_BYTES {
            return Err(IgnoreError::TooComplex { line: number });
        }
        lines.extend(read(number, line)?);
        if lines.len() > MAX_PATTERNS {
            return Err(IgnoreError::TooMany);
        }
    }
    Ok(lines)
}

/// Parses one line; `None` if nothing remains of it.
fn read(number: usize, line: &str) -> Result<Option<Line>, IgnoreError> {
    let (exception, rest) = match line.strip_prefix('!') {
        Some(rest) => (true, rest.trim()),
        None => (false, line),
    };
    let mut text = if rest.is_empty() { String::new() } else { clean(rest) };
    if text.len() > 1 && text.starts_with('/') {
        text.remove(0);
    }
    // Docker trims and cleans the line a second time, with an exception's `!` as part of the first component, and only then looks for the `!`: so
    // `./!x` is an exception too, and `/ /` is nothing.
    let whole = if exception { format!("!{text}") } else { text };
    let whole = whole.trim();
    if whole.is_empty() {
        return Ok(None);
    }
    let whole = clean(whole);
    let (pattern, exception) = match whole.strip_prefix('!') {
        Some("") => {
            let reason = "`!` needs a path";
            return Err(IgnoreError::Malformed { line: number, pattern: whole, reason });
        }
        Some(pattern) => (pattern.to_owned(), true),
        None => (whole, false),
    };
    Ok(Some(Line { number, pattern, exception }))
}

/// Returns the shortest equivalent path by text alone, like Go's `filepath.Clean`.
pub(super) fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut names: Vec<&str> = Vec::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." if names.last().is_some_and(|last| *last != "..") => {
                names.pop();
            }
            ".." if rooted => {}
            name => names.push(name),
        }
    }
    match (rooted, names.is_empty()) {
        (true, _) => format!("/{}", names.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => names.join("/"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleans_like_go() {
        for (path, cleaned) in [
            ("a/b", "a/b"),
            ("a//b/", "a/b"),
            ("./a/./b", "a/b"),
            ("a/..", "."),
            ("a/../..", ".."),
            ("../../a", "../../a"),
            ("a/../../b", "../b"),
            ("/", "/"),
            ("//a", "/a"),
            ("/../a", "/a"),
            (".", "."),
            ("..", ".."),
            ("", "."),
            // Only whole components are removed.
            ("!./x", "!./x"),
            ("!..", "!.."),
        ] {
            assert_eq!(clean(path), cleaned, "{path}");
        }
    }

    /// Returns (number, pattern, exception) of each line.
    fn lines(text: &str) -> Vec<(usize, String, bool)> {
        let lines = parse(text.as_bytes()).unwrap();
        lines.into_iter().map(|line| (line.number, line.pattern, line.exception)).collect()
    }

    #[test]
    fn parses_comments_and_blank_lines() {
        let text = "# comment\n\n  \n #not a comment\n\ta b \t\r\n/rooted/\n! ./x/ \n!!y\n!/z\n./!w\n!/v /\n/ /\nlast";
        assert_eq!(
            lines(text),
            [
                (4, "#not a comment".into(), false),
                (5, "a b".into(), false),
                (6, "rooted".into(), false),
                (7, "x".into(), true),
                (8, "!y".into(), true),
                (9, "z".into(), true),
                (10, "w".into(), true),
                (11, "v".into(), true),
                (13, "last".into(), false),
            ]
        );
    }

    #[test]
    fn drops_byte_order_mark_once() {
        assert_eq!(lines("\u{feff}# comment\na"), [(2, "a".into(), false)]);
        assert_eq!(lines("\u{feff}a\n\u{feff}b"), [(1, "a".into(), false), (2, "\u{feff}b".into(), false)]);
    }

    #[test]
    fn rejects_empty_exception() {
        for text in ["a\n!", "a\n!  ", "a\n!/", "a\n! //", "a\n./!"] {
            let error = parse(text.as_bytes()).unwrap_err();
            assert!(matches!(error, IgnoreError::Malformed { line: 2, .. }), "{text:?}: {error}");
        }
    }

    #[test]
    fn rejects_excess_and_invalid_utf8() {
        assert_eq!(parse(b"ok\na\xffb").unwrap_err(), IgnoreError::NotText { line: 2 });
        assert!(parse(b"# caf\xe9\nok").is_ok(), "a comment may be in any encoding");
        assert_eq!(parse("a\n".repeat(1_001).as_bytes()).unwrap_err(), IgnoreError::TooMany);
        assert_eq!(parse("a".repeat(1_025).as_bytes()).unwrap_err(), IgnoreError::TooComplex { line: 1 });
    }
}
