//! How a list of patterns decides over the paths of a tree.

use super::{IgnoreError, parse, pattern::Pattern};

/// Into which excluded folders a builder's client descends, to look for exceptions: the two differ, and an image depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Descent {
    /// As the client of the classic builder: only where an exception's text begins with the folder. `!**/x` below an excluded folder is lost.
    Classic,
    /// As BuildKit: everywhere, if an exception has a wildcard that is not its last name.
    BuildKit,
}

/// The patterns of an ignore file.
#[derive(Debug, Default)]
pub struct IgnoreRules {
    patterns: Vec<Pattern>,
}

/// Which patterns match a folder or one above it. The default is for the root.
#[derive(Clone, Debug, Default)]
pub struct ParentMatches(Vec<bool>);

impl IgnoreRules {
    /// Reads the bytes of an ignore file.
    pub fn parse(bytes: &[u8]) -> Result<Self, IgnoreError> {
        let patterns = parse::parse(bytes)?.into_iter().map(Pattern::new).collect::<Result<_, _>>()?;
        Ok(Self { patterns })
    }

    /// Whether `path` is excluded, and the matches that its children need if it is a folder. `path` is relative to the context's root and
    /// divided by `/`; `parent` is what this returned for the folder that holds it.
    pub fn excludes(&self, path: &[u8], parent: &ParentMatches) -> (bool, ParentMatches) {
        let mut matches = vec![false; self.patterns.len()];
        let mut excluded = false;
        for (index, pattern) in self.patterns.iter().enumerate() {
            let mut is_match = parent.0.get(index).copied().unwrap_or(false);
            if !is_match {
                // A pattern that could not change the verdict is not tried, and counts as one that does not match, also for the children.
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

    /// Whether an excluded folder may hold a path that an exception takes back.
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
