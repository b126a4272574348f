//! Detects malformed patterns before they are compiled: those for which Go's `filepath.Match(pattern, ".")` returns an error.
//!
//! Docker checks patterns that way. Go examines a pattern only up to the `*` after which the name cannot match any more, so `x*[-]` passes while
//! `[-]` does not; errors in the rest are found on compilation.

const UNCLOSED_RANGE: &str = "`[` has no `]`, or a range in it is not complete";
const TRAILING_BACKSLASH: &str = "nothing follows the last `\\`";

/// Refuses a pattern that Go considers malformed.
pub(super) fn check(pattern: &str) -> Result<(), &'static str> {
    let (mut rest, mut name) = (pattern, ".");
    'chunks: while !rest.is_empty() {
        let (star, chunk, after) = next_chunk(rest);
        rest = after;
        if star && chunk.is_empty() {
            break;
        }
        // After a star, first nothing is skipped, then the one character of the name.
        for skipped in 0..=usize::from(star && !name.is_empty()) {
            match match_chunk(chunk, &name[skipped..])? {
                Some(left) if left.is_empty() || !rest.is_empty() => {
                    name = left;
                    continue 'chunks;
                }
                _ => {}
            }
        }
        break;
    }
    Ok(())
}

/// Splits off the next chunk: whether stars precede it, the text up to the next star outside brackets, and the rest of the pattern.
fn next_chunk(pattern: &str) -> (bool, &str, &str) {
    let text = pattern.trim_start_matches('*');
    let (mut in_range, mut escaped) = (false, false);
    let end = text.bytes().position(|byte| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'[' => in_range = true,
            b']' => in_range = false,
            b'*' => return !in_range,
            _ => {}
        }
        false
    });
    let (chunk, rest) = text.split_at(end.unwrap_or(text.len()));
    (text.len() < pattern.len(), chunk, rest)
}

/// Returns the rest of `name` after a chunk that matches its start. The whole chunk is checked for errors, whether it matches or not.
fn match_chunk<'a>(chunk: &str, name: &'a str) -> Result<Option<&'a str>, &'static str> {
    let mut chars = chunk.chars().peekable();
    let mut left = name.chars();
    let mut failed = false;
    while let Some(c) = chars.next() {
        let next = if failed { None } else { left.next() };
        failed |= next.is_none();
        let matched = match c {
            '[' => {
                let negated = chars.next_if_eq(&'^').is_some();
                let (mut ranges, mut within) = (0, false);
                while !(ranges > 0 && chars.next_if_eq(&']').is_some()) {
                    let low = bound(&mut chars).ok_or(UNCLOSED_RANGE)?;
                    let high =
                        if chars.next_if_eq(&'-').is_some() { bound(&mut chars).ok_or(UNCLOSED_RANGE)? } else { low };
                    within |= next.is_some_and(|next| (low..=high).contains(&next));
                    ranges += 1;
                }
                within != negated
            }
            '?' => next != Some('/'),
            '\\' => Some(chars.next().ok_or(TRAILING_BACKSLASH)?) == next,
            c => Some(c) == next,
        };
        failed |= !matched;
    }
    Ok((!failed).then_some(left.as_str()))
}

/// Reads one end of a range; something must follow it, at least the `]`.
fn bound(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<char> {
    let c = match chars.next()? {
        '-' | ']' => return None,
        '\\' => chars.next()?,
        c => c,
    };
    chars.peek().map(|_| c)
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn rejects_malformed_patterns() {
        for bad in [
            "[", "a[", "[^", "[]", "[]a]", "[-]", "[-x]", "[x-]", "x[-]", "[a-b-c]", "[^bc", "\\", "a/\\", "*[",
            "*[-]", ".*[-]", "?*[-]", "[.]*[-]", "*.*[x-]", "[\\", ".*\\",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn accepts_what_go_accepts() {
        for good in [
            "",
            "]",
            "a]b",
            "[a-z]",
            "[^a]",
            "[\\]a]",
            "[\\-x]",
            "[z-a]",
            "a\\*",
            "\\\\",
            "[[]",
            "[[:alpha:]]",
            "[*]",
            "x*[-]",
            "x*[]a]",
            "*x*[-]",
            "a/*[x-]",
            "x*\\",
            "..*[-]",
            "*y*[-]",
        ] {
            assert!(check(good).is_ok(), "{good}");
        }
    }
}
