//! Why a fetch failed, as a kind that steps act on.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::CALL;
use crate::clients::{
    ClientError, ErrorKind,
    error::{LONGEST_MESSAGE, cut},
};

/// Why a fetch failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GitErrorKind {
    /// The repository has no such branch.
    BranchNotFound,
    /// The repository has no such tag.
    TagNotFound,
    /// The server has no such commit, or does not give commits by id.
    CommitNotFound,
    /// No such repository, or the token may not see it.
    RepositoryNotFound,
    /// The token is missing, refused or lacks a right.
    AccessDenied,
    /// A limit was reached: bytes, files, one file, memory or processor time.
    TooLarge,
    /// The commit holds something that must not be written to disk.
    TreeRefused,
    /// The server redirects to another server.
    Redirected,
    /// The server asks to slow down.
    Throttled,
    /// The target folder is in use.
    Conflict,
    /// The caller stopped the fetch.
    Cancelled,
    /// The server, the network or this machine failed: worth another try.
    Unavailable,
    /// The request, or the server's answer to it, can never succeed as it is.
    Invalid,
}

impl GitErrorKind {
    /// The kind of an HTTP status; `limited` when the answer says that a limit of calls is reached.
    pub(super) fn of_status(status: u16, limited: bool) -> Self {
        match status {
            429 => Self::Throttled,
            403 if limited => Self::Throttled,
            401 | 403 | 451 => Self::AccessDenied,
            404 | 410 => Self::RepositoryNotFound,
            // 407: the proxy wants credentials, which an operator can give without a new deployment.
            407 | 408 | 500..=599 => Self::Unavailable,
            _ => Self::Invalid,
        }
    }
}

/// A failed fetch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Deserialize, Serialize)]
#[error("{message}")]
pub struct GitError {
    /// Why.
    pub kind: GitErrorKind,
    /// The reason in words, at most 1,000 characters.
    pub message: String,
}

impl GitError {
    /// An error of `kind`; a longer message is cut.
    pub fn new(kind: GitErrorKind, message: impl fmt::Display) -> Self {
        Self { kind, message: cut(&message.to_string(), LONGEST_MESSAGE) }
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

    /// An error of libgit2, which is used for objects and packs only: what it refuses is the server's data.
    pub(super) fn of_objects(error: &git2::Error) -> Self {
        match error.class() {
            git2::ErrorClass::NoMemory => Self::too_large(OUT_OF_MEMORY),
            git2::ErrorClass::Os => Self::unavailable(error.message()),
            _ => Self::invalid(error.message()),
        }
    }

    /// A file that cannot be written.
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

/// The message for a fetch that reached its limit of memory.
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
