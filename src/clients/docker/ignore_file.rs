//! `.dockerignore`, with the semantics of Docker's own reference ("build context"):
//!
//! - patterns are relative to the context's root, so `a` is `/a`, not any `a`;
//! - a pattern matches a path or any folder above it; the last pattern that matches decides;
//! - `!` takes back what earlier patterns left out, even inside a folder that they left out;
//! - `*`, `?` and `[…]` stay within one name, `**` is any number of folders;
//! - lines that start with `#` are comments; patterns are cleaned of `.`, `..` and slashes at their ends.
//!
//! The glob engine is ripgrep's (crate `ignore`), one matcher a pattern: the order above is Docker's, not git's.

use std::path::Path;

use ignore::gitignore::{Gitignore, GitignoreBuilder};

use super::super::{ClientError, ErrorKind};

/// The most patterns: each is held against each path.
const MOST_PATTERNS: usize = 1_000;

/// The rules of one context.
#[derive(Default)]
pub(super) struct DockerIgnore {
    rules: Vec<Rule>,
}

struct Rule {
    pattern: Gitignore,
    takes_back: bool,
}

impl DockerIgnore {
    /// Reads the rules from the text of a `.dockerignore`.
    pub(super) fn parse(text: &str) -> Result<Self, ClientError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let rules = text.lines().filter(|line| !line.starts_with('#')).map(str::trim).filter_map(|line| {
            let (takes_back, pattern) = match line.strip_prefix('!') {
                Some(rest) => (true, rest.trim()),
                None => (false, line),
            };
            let pattern = cleaned(pattern);
            (!pattern.is_empty()).then(|| rule(&pattern, takes_back))
        });
        let rules: Vec<Rule> = rules.take(MOST_PATTERNS + 1).collect::<Result<_, _>>()?;
        if rules.len() > MOST_PATTERNS {
            let message = format!(".dockerignore: there are more than {MOST_PATTERNS} patterns");
            return Err(ClientError::new(ErrorKind::Invalid, "docker build", message));
        }
        Ok(Self { rules })
    }

    /// Whether the context leaves out `path` (relative to its root).
    pub(super) fn leaves_out(&self, path: &Path, is_folder: bool) -> bool {
        let matches = |rule: &&Rule| rule.pattern.matched_path_or_any_parents(path, is_folder).is_ignore();
        self.rules.iter().rev().find(matches).is_some_and(|rule| !rule.takes_back)
    }

    /// Whether something inside a left-out folder may still belong to the context.
    pub(super) fn takes_back(&self) -> bool {
        self.rules.iter().any(|rule| rule.takes_back)
    }
}

fn rule(pattern: &str, takes_back: bool) -> Result<Rule, ClientError> {
    let invalid = |error: ignore::Error| {
        let message = format!(".dockerignore: the pattern {pattern:?} cannot be read: {error}");
        ClientError::new(ErrorKind::Invalid, "docker build", message)
    };
    let mut builder = GitignoreBuilder::new("");
    builder.allow_unclosed_class(false);
    // The leading slash anchors the pattern; braces mean nothing to Docker.
    let anchored = format!("/{}", pattern.replace('{', "\\{").replace('}', "\\}"));
    builder.add_line(None, &anchored).map_err(invalid)?;
    Ok(Rule { pattern: builder.build().map_err(invalid)?, takes_back })
}

/// Go's `filepath.Clean`, and no slash in front.
fn cleaned(pattern: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in pattern.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn out(rules: &str, path: &str) -> bool {
        DockerIgnore::parse(rules).unwrap().leaves_out(Path::new(path), false)
    }

    #[test]
    fn patterns_are_anchored_and_cover_what_lies_below() {
        assert!(out("target", "target/debug/x") && out("/target/", "target/x") && out("./a/../target", "target"));
        assert!(!out("target", "sub/target"), "unlike git's, a bare name matches at the root only");
        assert!(out("**/target", "sub/target/x") && out("**/target", "target"));
        assert!(out("*.log", "a.log") && !out("*.log", "sub/a.log") && out("*/*.log", "sub/a.log"));
        assert!(out("secret?.txt", "secret1.txt") && out("[ab].txt", "a.txt"));
    }

    #[test]
    fn the_last_matching_pattern_decides_and_may_take_back_inside_a_folder() {
        assert!(!out("*\n!src", "src/main.rs") && out("*\n!src", "README.md"));
        assert!(out("!a/b\na", "a/b/c"), "a later pattern for the folder wins over an earlier exception");
        assert!(!out("docs\n!docs/keep.md", "docs/keep.md") && out("docs\n!docs/keep.md", "docs/other.md"));
    }

    #[test]
    fn comments_blank_lines_and_braces_mean_nothing_special() {
        assert!(!out("# a\n\n   \n.", "a"));
        assert!(out("{a,b}", "{a,b}") && !out("{a,b}", "a"));
        assert!(out("\u{feff}a", "a"));
    }

    #[test]
    fn a_broken_pattern_is_named() {
        let error = DockerIgnore::parse("ok\n[a").err().unwrap();
        assert!(error.message.contains("[a"), "{error}");
    }
}
