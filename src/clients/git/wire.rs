//! The request and the answer of the fetching process, each one JSON document.

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::{Fetched, GitError, GitLimits};
use crate::domain::source::Revision;

/// Names inside the folder that the process works in.
pub(super) const TREE: &str = "tree";
pub(super) const OBJECTS: &str = "objects";
pub(super) const HOME: &str = "home";

/// Longest request, in bytes.
pub(super) const LONGEST_REQUEST: u64 = 64 << 10;
/// Longest answer, in bytes: five paths of 1,024 bytes, each byte escaped, and the rest.
pub(super) const LONGEST_ANSWER: u64 = 64 << 10;

/// The request, on standard input: the token stands in no argument, variable or file.
#[derive(Serialize)]
pub(super) struct RequestOut<'a> {
    pub(super) url: &'a str,
    pub(super) revision: &'a Revision,
    pub(super) token: Option<&'a str>,
    pub(super) limits: GitLimits,
    pub(super) parent: u32,
}

/// The same as the process reads it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RequestIn {
    pub(super) url: String,
    pub(super) revision: Revision,
    pub(super) token: Option<SecretString>,
    pub(super) limits: GitLimits,
    /// The process that waits for the answer.
    pub(super) parent: u32,
}

/// The answer, on standard output.
#[derive(Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    Ok(Fetched),
    Error(GitError),
}
