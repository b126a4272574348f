//! Request and answer of the fetching process, each a single JSON document.

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::{Fetched, GitError, GitLimits};
use crate::domain::source::Revision;

/// Names of entries in the process's working folder.
pub(super) const TREE: &str = "tree";
pub(super) const OBJECTS: &str = "objects";
pub(super) const HOME: &str = "home";

/// Maximum size of a request, in bytes.
pub(super) const MAX_REQUEST_BYTES: u64 = 64 << 10;
/// Maximum size of an answer, in bytes: five paths of 1,024 bytes with each byte escaped, and the rest.
pub(super) const MAX_ANSWER_BYTES: u64 = 64 << 10;

/// Request on standard input, so that the token appears in no argument, environment variable or file.
#[derive(Serialize)]
pub(super) struct OutgoingRequest<'a> {
    pub(super) url: &'a str,
    pub(super) revision: &'a Revision,
    pub(super) token: Option<&'a str>,
    pub(super) limits: GitLimits,
    pub(super) parent: u32,
}

/// Request as the process reads it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IncomingRequest {
    pub(super) url: String,
    pub(super) revision: Revision,
    pub(super) token: Option<SecretString>,
    pub(super) limits: GitLimits,
    /// Id of the process that waits for the answer.
    pub(super) parent: u32,
}

/// Result of a fetch, as the child process writes it to standard output.
#[derive(Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FetchAnswer {
    Ok(Fetched),
    Error(GitError),
}
