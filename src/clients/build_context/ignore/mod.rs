//! Parses and applies `.dockerignore` files as Docker does.
//!
//! Implements the rules of [moby/patternmatcher], the library behind `docker build`: which lines are patterns ([`parse`]), which patterns are
//! malformed ([`glob`]), which paths a pattern matches ([`pattern`], [`go_regex`]), and how a list of patterns applies to a tree ([`matcher`]).
//! Decision 0035 explains why no glob library is used; `tests/it/clients/docker_ignore.rs` compares the results with Docker's client.
//!
//! The size of the file is bounded, and so are number, length and wildcards of its patterns: each pattern is tried on each path of a context.
//!
//! [moby/patternmatcher]: https://github.com/moby/patternmatcher

mod glob;
mod go_regex;
mod matcher;
mod parse;
mod pattern;

use thiserror::Error;

pub use matcher::{Descent, IgnoreRules, ParentMatches};

/// Maximum size of an ignore file, in bytes.
pub const MAX_FILE_BYTES: u64 = 64 * 1024;

/// Maximum number of patterns in an ignore file.
pub const MAX_PATTERNS: usize = 1_000;

/// Maximum length of a pattern, in bytes.
const MAX_PATTERN_BYTES: usize = 1_024;

/// Maximum number of wildcards (`*`, `**`, `?`) in a pattern.
const MAX_WILDCARDS: usize = 32;

/// Reason why an ignore file is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum IgnoreError {
    /// A pattern is not UTF-8. Docker compares bytes, but such a pattern cannot be intended.
    #[error("line {line} is not UTF-8 text")]
    NotText {
        /// Line number, starting at 1.
        line: usize,
    },
    /// More than [`MAX_PATTERNS`] patterns.
    #[error("more than {MAX_PATTERNS} patterns")]
    TooMany,
    /// A pattern exceeds the limits on length or wildcards.
    #[error("line {line}: the pattern has more than {MAX_PATTERN_BYTES} bytes or {MAX_WILDCARDS} wildcards")]
    TooComplex {
        /// Line number, starting at 1.
        line: usize,
    },
    /// A pattern that Docker refuses as well.
    #[error("line {line}: the pattern `{pattern}` is malformed: {reason}")]
    Malformed {
        /// Line number, starting at 1.
        line: usize,
        /// The pattern after cleaning.
        pattern: String,
        /// Description of the problem.
        reason: &'static str,
    },
}

#[cfg(test)]
mod tests;
