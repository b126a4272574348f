//! What can go wrong with the sandbox's repositories.

use std::path::PathBuf;

/// Why a repository cannot be made, read or added to.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// A name, branch or path that git or GitHub would not accept.
    #[error("{field}: {problem}")]
    Input {
        /// Which argument.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// There is no such repository.
    #[error("there is no repository {0}; add it first")]
    UnknownRepository(String),
    /// The repository has no such branch.
    #[error("{repository} has no branch {branch}")]
    UnknownBranch {
        /// `owner/repo`.
        repository: String,
        /// The branch asked for.
        branch: String,
    },
    /// git is missing, or its HTTP part is.
    #[error("git cannot serve: {0}; install it (apt-get install git)")]
    NoGit(String),
    /// A file or folder could not be read or made.
    #[error("{}: {source}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// What git itself said.
    #[error(transparent)]
    Git(#[from] git2::Error),
    /// The work was interrupted, because the program is ending.
    #[error("interrupted")]
    Interrupted,
}

/// Why someone may not see a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The token is nobody's.
    BadCredentials,
    /// It does not exist, or not for this caller: the two are not told apart.
    NotFound,
}
