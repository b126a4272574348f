//! Applies a list of patterns to the paths of a tree.

use super::{IgnoreError, parse, pattern::Pattern};

/// Selects the excluded folders that are searched for exceptions. The two builders' clients differ, and the image depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Descent {
    /// Like the classic builder's client: only folders with which the text of an exception begins. `!**/x` below an excluded folder has no effect.
    Classic,
    /// Like BuildKit: all folders, if an exception has a wildcard before its last path component.
    BuildKit,
}

/// Patterns of an ignore file, in order.
#[derive(Debug, Default)]
pub struct IgnoreRules {
    patterns: Vec<Pattern>,
}

/// Records which patterns match a folder or one of its parents. The default value is for the root.
#[derive(Clone, Debug, Default)]
pub struct ParentMatches(Vec<bool>);

impl IgnoreRules {
    /// Parses the content of an ignore file.
    pub fn parse(bytes: &[u8]) -> Result<Self, IgnoreError> {
        let patterns = parse::parse(bytes)?.into_iter().map(Pattern::new).collect::<Result<_, _>>()?;
        Ok(Self { patterns })
    }

    /// Decides whether `path` is excluded, and returns the matches that its children need if it is a folder. `path` is relative to the context's root
    /// and divided by `/`; `parent` is the result of this function for the containing folder.
    pub fn excludes(&self, path: &[u8], parent: &ParentMatches) -> (bool, ParentMatches) {
        let mut matches = vec![false; self.patterns.len()];
        let mut excluded = false;
        for (index, pattern) in self.patterns.iter().enumerate() {
            let mut is_match = parent.0.get(index).copied().unwrap_or(false);
            if !is_match {
                // A pattern that cannot change the result is not tried and counts as not matching, also for the children.
                if pattern.exception != excluded {
                    continue;
                }
                is_match = pattern.matches(path) || (parent.0.is_empty() && matches_a_parent(pattern, path));
            }
            matches[index] = is_match;
            if is_match {
                excluded = !pattern.exception;
            }
        }
        (excluded, ParentMatches(matches))
    }

    /// Reports whether an excluded folder may contain a path that an exception includes again.
    pub fn may_hold_exceptions(&self, folder: &[u8], descent: Descent) -> bool {
        let mut exceptions =
            self.patterns.iter().filter(|pattern| pattern.exception).map(|pattern| pattern.text.as_str());
        let begins = |text: &str| {
            let mut prefix = folder.to_vec();
            prefix.push(b'/');
            let mut text = text.as_bytes().to_vec();
            text.push(b'/');
            text.starts_with(&prefix)
        };
        match descent {
            Descent::Classic => exceptions.any(begins),
            Descent::BuildKit => {
                let texts: Vec<&str> = exceptions.map(without_last_wildcard).collect();
                let special = |text: &&str| text.contains(['*', '[', ']', '?', '^', '\\']);
                texts.iter().any(special) || texts.into_iter().any(begins)
            }
        }
    }
}

fn matches_a_parent(pattern: &Pattern, path: &[u8]) -> bool {
    let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(end, _)| end);
    ends.into_iter().any(|end| pattern.matches(&path[..end]))
}

fn without_last_wildcard(text: &str) -> &str {
    let text = text.strip_suffix("/**").unwrap_or(text);
    text.strip_suffix("/*").unwrap_or(text)
}
