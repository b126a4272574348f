//! Patterns of branches, tags and paths: `*` stands for any characters but `/`, `**` for any characters, `?` for one character but `/`. All others
//! stand for themselves.

use crate::domain::message::message;
use crate::domain::text::is_unfit_for_names;
use crate::domain::validate::BrokenRule;

/// Longest pattern, in bytes.
const MAX_PATTERN: usize = 250;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Literal(char),
    /// One character, but `/`: written `?`.
    One,
    /// Any characters, but `/`: written `*`.
    Within,
    /// Any characters at all: written `**`.
    Any,
}

/// Checks a pattern.
///
/// # Errors
/// It is empty, too long, begins with `/` or `!`, or has characters that no name has.
pub fn check(pattern: &str) -> Result<(), BrokenRule> {
    let fits = (1..=MAX_PATTERN).contains(&pattern.len())
        && !pattern.starts_with(['/', '!'])
        && !pattern.contains(is_unfit_for_names);
    if fits { Ok(()) } else { Err(message!("rule.push_pattern", max = MAX_PATTERN)) }
}

/// Reports that the whole text matches the pattern. Takes time proportional to the product of their lengths at most.
pub fn matches(pattern: &str, text: &str) -> bool {
    let tokens = tokens(pattern);
    // reached[n]: the first n tokens match the text up to here.
    let mut reached = vec![false; tokens.len() + 1];
    reached[0] = true;
    skip_empty(&tokens, &mut reached);
    for c in text.chars() {
        let mut next = vec![false; tokens.len() + 1];
        for (n, token) in tokens.iter().enumerate().filter(|(n, _)| reached[*n]) {
            match token {
                Token::Literal(wanted) if *wanted == c => next[n + 1] = true,
                Token::One if c != '/' => next[n + 1] = true,
                Token::Within if c != '/' => next[n] = true,
                Token::Any => next[n] = true,
                _ => {}
            }
        }
        skip_empty(&tokens, &mut next);
        reached = next;
    }
    reached[tokens.len()]
}

/// Marks what is reached because `*` and `**` match the empty text, and `**/` no folder.
fn skip_empty(tokens: &[Token], reached: &mut [bool]) {
    for (n, token) in tokens.iter().enumerate() {
        if !reached[n] {
            continue;
        }
        if matches!(token, Token::Within | Token::Any) {
            reached[n + 1] = true;
        }
        let begins = n == 0 || tokens[n - 1] == Token::Literal('/');
        if begins && *token == Token::Any && tokens.get(n + 1) == Some(&Token::Literal('/')) {
            reached[n + 2] = true;
        }
    }
}

fn tokens(pattern: &str) -> Vec<Token> {
    let mut tokens = Vec::with_capacity(pattern.len());
    for c in pattern.chars() {
        match (c, tokens.last()) {
            ('*', Some(Token::Any)) => {}
            ('*', Some(Token::Within)) => {
                tokens.pop();
                tokens.push(Token::Any);
            }
            ('*', _) => tokens.push(Token::Within),
            ('?', _) => tokens.push(Token::One),
            (c, _) => tokens.push(Token::Literal(c)),
        }
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stop_at_folders_unless_double() {
        for (pattern, yes, no) in [
            ("main", &["main"][..], &["main2", "", "Main", "x/main"][..]),
            ("release/*", &["release/1.2", "release/"], &["release/1/2", "release"]),
            ("release/**", &["release/1.2", "release/1/2"], &["releases/1"]),
            ("v?.*", &["v1.2", "v1."], &["v12.0", "v1"]),
            ("**", &["a", "a/b/c", ""], &[]),
            ("*", &["a", ""], &["a/b"]),
            ("**/*.md", &["README.md", "docs/a/b.md"], &["README.txt", "docs/a.md/x"]),
            ("services/**/Dockerfile", &["services/api/Dockerfile", "services/Dockerfile"], &["servicesDockerfile"]),
            ("a**b", &["ab", "a/x/b"], &["a/x/c"]),
            ("[ab].c", &["[ab].c"], &["a.c"]),
            ("한*", &["한글"], &["글"]),
        ] {
            assert!(yes.iter().all(|text| matches(pattern, text)), "{pattern}");
            assert!(!no.iter().any(|text| matches(pattern, text)), "{pattern}");
        }
    }

    #[test]
    fn long_pattern_of_stars_ends_soon() {
        let (pattern, text) = ("*a".repeat(MAX_PATTERN / 2), "a".repeat(4_000));
        assert!(matches(&pattern, &text) && !matches(&format!("{pattern}b"), &text));
    }

    #[test]
    fn refuses_patterns_that_match_nothing() {
        check("docs/**").unwrap();
        for wrong in ["", "/docs", "!main", "a\nb", &"x".repeat(MAX_PATTERN + 1)] {
            check(wrong).unwrap_err();
        }
    }
}
