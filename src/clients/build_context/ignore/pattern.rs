//! A compiled pattern, and the paths that it matches.

use std::borrow::Cow;

use regex::bytes::Regex;

use super::{IgnoreError, MAX_WILDCARDS, glob, go_regex, parse::Line};

/// A pattern ready for matching.
#[derive(Debug)]
pub(super) struct Pattern {
    /// Text of the pattern after cleaning.
    pub text: String,
    /// Set when the pattern includes paths again that earlier patterns excluded.
    pub exception: bool,
    kind: Kind,
}

/// Docker's ways to match a pattern. Three of them are shortcuts that differ from the regular expression: `**x` matches any path that *ends* in `x`.
#[derive(Debug)]
enum Kind {
    Exact,
    Prefix,
    Suffix,
    Regex(Regex),
}

impl Pattern {
    /// Compiles a line; the error names its number.
    pub(super) fn new(line: Line) -> Result<Self, IgnoreError> {
        let Line { number, pattern: text, exception } = line;
        let malformed = |reason| IgnoreError::Malformed { line: number, pattern: text.clone(), reason };
        if text.chars().filter(|c| matches!(c, '*' | '?')).count() > MAX_WILDCARDS {
            return Err(IgnoreError::TooComplex { line: number });
        }
        glob::check(&text).map_err(malformed)?;
        let kind = compile(&text).map_err(malformed)?;
        Ok(Self { text, exception, kind })
    }

    /// Reports whether the pattern matches exactly this path; the caller must also try the parent folders.
    pub(super) fn matches(&self, path: &[u8]) -> bool {
        let text = self.text.as_bytes();
        match &self.kind {
            Kind::Exact => path == text,
            Kind::Prefix => path.starts_with(&text[..text.len() - 2]),
            Kind::Suffix => {
                let suffix = &text[2..];
                path.ends_with(suffix) || suffix.strip_prefix(b"/").is_some_and(|name| name == path)
            }
            Kind::Regex(regex) => regex.is_match(&as_go_reads(path)),
        }
    }
}

/// Replaces each byte that is not UTF-8 by U+FFFD, as Go's regular expressions do.
fn as_go_reads(path: &[u8]) -> Cow<'_, [u8]> {
    if str::from_utf8(path).is_ok() {
        return Cow::Borrowed(path);
    }
    let mut read = Vec::with_capacity(path.len() * 2);
    for chunk in path.utf8_chunks() {
        read.extend_from_slice(chunk.valid().as_bytes());
        for _ in chunk.invalid() {
            read.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    Cow::Owned(read)
}

/// Chooses Docker's way to match `pattern`, whose syntax was checked before.
fn compile(pattern: &str) -> Result<Kind, &'static str> {
    #[derive(PartialEq)]
    enum Seen {
        Exact,
        Prefix,
        Suffix,
        Regex,
    }
    let mut seen = Seen::Exact;
    let mut regex = String::from("^");
    // Go's scanner drops a byte order mark at the start.
    let mut chars = pattern.strip_prefix('\u{feff}').unwrap_or(pattern).chars().peekable();
    let mut is_first = true;
    while let Some(c) = chars.next() {
        match c {
            '*' if chars.next_if_eq(&'*').is_some() => {
                chars.next_if_eq(&'/');
                if chars.peek().is_some() {
                    regex.push_str("(.*/)?");
                    seen = Seen::Regex;
                } else if seen == Seen::Exact {
                    seen = Seen::Prefix;
                } else {
                    regex.push_str(".*");
                    seen = Seen::Regex;
                }
                if is_first {
                    seen = Seen::Suffix;
                }
            }
            '*' => {
                regex.push_str("[^/]*");
                seen = Seen::Regex;
            }
            '?' => {
                regex.push_str("[^/]");
                seen = Seen::Regex;
            }
            // Docker intends to escape `|`, `{` and `}` too, but does not: in a pattern with a wildcard they are operators, for Docker as well.
            '.' | '+' | '(' | ')' | '$' => regex.extend(['\\', c]),
            '\\' => {
                regex.push('\\');
                // This includes letters: `\d` becomes a digit class, for Docker as well.
                if let Some(c) = chars.next() {
                    regex.push(c);
                    seen = Seen::Regex;
                }
            }
            '[' | ']' => {
                regex.push(c);
                seen = Seen::Regex;
            }
            c => regex.push(c),
        }
        is_first = false;
    }
    Ok(match seen {
        Seen::Exact => Kind::Exact,
        Seen::Prefix => Kind::Prefix,
        Seen::Suffix => Kind::Suffix,
        Seen::Regex => {
            regex.push('$');
            Kind::Regex(go_regex::compile(&regex)?)
        }
    })
}
