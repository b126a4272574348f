//! `.dockerignore`, read as Docker reads it.
//!
//! Implements the rules of [moby/patternmatcher], the library behind `docker build`: which lines are patterns ([`parse`]), which patterns are
//! malformed ([`glob`]), which paths a pattern matches ([`pattern`], [`go_regex`]), and how a list of patterns decides over a tree
//! ([`matcher`]). Decision 0035 says why it is not a glob library; `tests/it/clients/docker_ignore.rs` compares it with Docker's client.
//!
//! The file is bounded, and so are number, length and wildcards of its patterns: each is tried on each path of a context.
//!
//! [moby/patternmatcher]: https://github.com/moby/patternmatcher

mod glob;
mod go_regex;
mod matcher;
mod parse;
mod pattern;

use thiserror::Error;

pub use matcher::{Descent, IgnoreRules, ParentMatches};

/// The largest ignore file, in bytes.
pub const MAX_FILE_BYTES: u64 = 64 * 1024;

/// The most patterns of an ignore file.
pub const MAX_PATTERNS: usize = 1_000;

/// The longest pattern, in bytes.
const MAX_PATTERN_BYTES: usize = 1_024;

/// The most wildcards (`*`, `**`, `?`) of a pattern.
const MAX_WILDCARDS: usize = 32;

/// Why a list of patterns is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum IgnoreError {
    /// Docker reads bytes; a pattern that is not text matches nothing that a person can have meant.
    #[error("line {line} is not UTF-8 text")]
    NotText {
        /// Line, from 1.
        line: usize,
    },
    /// More than [`MAX_PATTERNS`].
    #[error("more than {MAX_PATTERNS} patterns")]
    TooMany,
    /// A pattern beyond the bounds.
    #[error("line {line}: the pattern has more than {MAX_PATTERN_BYTES} bytes or {MAX_WILDCARDS} wildcards")]
    TooComplex {
        /// Line, from 1.
        line: usize,
    },
    /// A pattern that Docker refuses as well.
    #[error("line {line}: the pattern `{pattern}` is malformed: {reason}")]
    Malformed {
        /// Line, from 1.
        line: usize,
        /// The pattern, cleaned.
        pattern: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

#[cfg(test)]
mod tests;
