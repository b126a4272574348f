//! Which patterns are malformed before they are compiled: those for which Go's `filepath.Match(pattern, ".")` is an error.
//!
//! That is how Docker checks a pattern. Go looks at a pattern up to the `*` behind which the name cannot match any more, so `x*[-]` passes
//! where `[-]` does not; what is wrong with the rest is found when it is compiled.

const OPEN: &str = "`[` has no `]`, or a range in it is not complete";
const LAST: &str = "nothing follows the last `\\`";

/// Refuses a pattern that Go would call malformed.
pub(super) fn check(pattern: &str) -> Result<(), &'static str> {
    let (mut rest, mut name) = (pattern, ".");
    'chunks: while !rest.is_empty() {
        let (star, chunk, after) = next_chunk(rest);
        rest = after;
        if star && chunk.is_empty() {
            break;
        }
        // Behind the star first nothing, then the name's one character may be skipped.
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

/// Whether stars come first, the text up to the next star outside brackets, and what follows.
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

/// What is left of `name` behind a chunk that matches its start; the whole chunk is checked, whether it matches or not.
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
                    let low = bound(&mut chars).ok_or(OPEN)?;
                    let high = if chars.next_if_eq(&'-').is_some() { bound(&mut chars).ok_or(OPEN)? } else { low };
                    within |= next.is_some_and(|next| (low..=high).contains(&next));
                    ranges += 1;
                }
                within != negated
            }
            '?' => next != Some('/'),
            '\\' => Some(chars.next().ok_or(LAST)?) == next,
            c => Some(c) == next,
        };
        failed |= !matched;
    }
    Ok((!failed).then_some(left.as_str()))
}

/// One end of a range; something must follow it, at least the `]`.
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
    fn a_malformed_pattern_is_refused() {
        for bad in [
            "[", "a[", "[^", "[]", "[]a]", "[-]", "[-x]", "[x-]", "x[-]", "[a-b-c]", "[^bc", "\\", "a/\\", "*[",
            "*[-]", ".*[-]", "?*[-]", "[.]*[-]", "*.*[x-]", "[\\", ".*\\",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_strange_but_complete_pattern_is_accepted_and_what_go_does_not_reach_is_not_checked() {
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
