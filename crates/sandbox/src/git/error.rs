//! Errors of the sandbox's repositories.

use std::path::PathBuf;

/// An error when creating, reading or changing a repository.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// A name, branch or path that git or GitHub would not accept.
    #[error("{field}: {problem}")]
    Input {
        /// Name of the argument.
        field: &'static str,
        /// Description of the problem.
        problem: String,
    },
    /// The repository was not added.
    #[error("unknown repository {0}; add it first")]
    UnknownRepository(String),
    /// The repository has no such branch.
    #[error("{repository} has no branch {branch}")]
    UnknownBranch {
        /// Name in the form `owner/repo`.
        repository: String,
        /// Name of the requested branch.
        branch: String,
    },
    /// git or its HTTP backend is not installed.
    #[error("git cannot serve: {0}; install it (apt-get install git)")]
    NoGit(String),
    /// A file or folder could not be read or created.
    #[error("{}: {source}", path.display())]
    File {
        /// Path of the file or folder.
        path: PathBuf,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// An error of libgit2.
    #[error(transparent)]
    Git(#[from] git2::Error),
    /// The work was interrupted, because the process is shutting down.
    #[error("interrupted")]
    Interrupted,
}

/// A refusal of access to a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessRefusal {
    /// The token is unknown.
    BadCredentials,
    /// The repository does not exist, or the caller may not see it; callers cannot distinguish the two.
    NotFound,
}
