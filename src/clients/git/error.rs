//! Errors of a fetch, with a kind on which steps base their decision.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::CALL;
use crate::clients::error::MAX_MESSAGE_CHARS;
use crate::clients::{ClientError, ErrorKind};
use crate::domain::text;

/// Classification of a failed fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GitErrorKind {
    /// The repository has no such branch.
    BranchNotFound,
    /// The repository has no such tag.
    TagNotFound,
    /// The server does not have the commit, or does not serve commits by id.
    CommitNotFound,
    /// The repository does not exist, or the token may not see it.
    RepositoryNotFound,
    /// The token is missing, refused or lacks a permission.
    AccessDenied,
    /// A limit was exceeded: total bytes, number of files, size of one file, memory or CPU time.
    TooLarge,
    /// The commit contains an entry that must not be written to disk.
    TreeRefused,
    /// The server redirects to another server.
    Redirected,
    /// The server rejects further requests for now.
    Throttled,
    /// The destination folder is in use.
    Conflict,
    /// The caller cancelled the fetch.
    Cancelled,
    /// The server, the network or this machine failed: a retry may succeed.
    Unavailable,
    /// Repeating the same request can never succeed, or the server's answer is invalid.
    Invalid,
}

impl GitErrorKind {
    /// Classifies an HTTP status; `limited` is set when the response reports a rate limit.
    pub(super) fn of_status(status: u16, limited: bool) -> Self {
        match status {
            429 => Self::Throttled,
            403 if limited => Self::Throttled,
            401 | 403 | 451 => Self::AccessDenied,
            404 | 410 => Self::RepositoryNotFound,
            // 407: the proxy requires credentials, which an operator can supply without a new deployment.
            407 | 408 | 500..=599 => Self::Unavailable,
            _ => Self::Invalid,
        }
    }
}

/// A failed fetch, with its classification.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Deserialize, Serialize)]
#[error("{message}")]
pub struct GitError {
    /// Decides whether the fetch is repeated.
    pub kind: GitErrorKind,
    /// Description of the failure, at most 1,000 characters.
    pub message: String,
}

impl GitError {
    /// Creates an error of `kind`; a longer message is truncated.
    pub fn new(kind: GitErrorKind, message: impl fmt::Display) -> Self {
        Self { kind, message: text::cut(&message.to_string(), MAX_MESSAGE_CHARS) }
    }

    pub(super) fn invalid(message: impl fmt::Display) -> Self {
        Self::new(GitErrorKind::Invalid, message)
    }

    pub(super) fn unavailable(message: impl fmt::Display) -> Self {
        Self::new(GitErrorKind::Unavailable, message)
    }

    pub(super) fn too_large(message: impl fmt::Display) -> Self {
        Self::new(GitErrorKind::TooLarge, message)
    }

    /// Converts an error of libgit2, which only handles objects and packs: anything that it refuses is data from the server.
    pub(super) fn of_objects(error: &git2::Error) -> Self {
        match error.class() {
            git2::ErrorClass::NoMemory => Self::too_large(OUT_OF_MEMORY),
            git2::ErrorClass::Os => Self::unavailable(error.message()),
            _ => Self::invalid(error.message()),
        }
    }

    /// Converts an error from writing a file.
    pub(super) fn of_file(error: &std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::FileTooLarge => {
                Self::too_large("a file grew beyond its limit (PANDA_SOURCE_MAX_BYTES)")
            }
            std::io::ErrorKind::OutOfMemory => Self::too_large(OUT_OF_MEMORY),
            _ => Self::unavailable(format!("the workspace cannot be written: {error}")),
        }
    }
}

/// Message for a fetch that exceeded its memory limit.
pub(super) const OUT_OF_MEMORY: &str =
    "unpacking the repository takes more memory than a fetch may use, which follows from PANDA_SOURCE_MAX_FILE_BYTES";

impl From<GitError> for ClientError {
    fn from(error: GitError) -> Self {
        let kind = match error.kind {
            GitErrorKind::BranchNotFound
            | GitErrorKind::TagNotFound
            | GitErrorKind::CommitNotFound
            | GitErrorKind::RepositoryNotFound => ErrorKind::NotFound,
            GitErrorKind::AccessDenied => ErrorKind::Denied,
            GitErrorKind::Throttled => ErrorKind::Throttled,
            GitErrorKind::Conflict => ErrorKind::Conflict,
            GitErrorKind::Cancelled | GitErrorKind::Unavailable => ErrorKind::Unavailable,
            GitErrorKind::TooLarge | GitErrorKind::TreeRefused | GitErrorKind::Redirected | GitErrorKind::Invalid => {
                ErrorKind::Invalid
            }
        };
        Self::new(kind, CALL, error.message)
    }
}
