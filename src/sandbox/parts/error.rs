//! The one error of this room: every part that cannot start says why and what a person can do about it.

use std::path::PathBuf;

/// A real part could not be found, started or used.
#[derive(Debug, thiserror::Error)]
pub enum PartsError {
    /// A program that the part needs is not on this machine.
    #[error("{part} is not available on this machine: {reason}. {remedy}")]
    Missing {
        /// The part, as its users call it ("Docker engine").
        part: &'static str,
        /// What was looked for, and where.
        reason: String,
        /// What to do: a command, where one is enough.
        remedy: &'static str,
    },
    /// The part's process was started but did not become ready.
    #[error("{part} could not start: {reason}. {remedy}\nIts log is {}; the last lines:\n{tail}", log.display())]
    Start {
        /// The part, as its users call it.
        part: &'static str,
        /// What was seen: an exit status, or a time limit that passed.
        reason: String,
        /// What to do.
        remedy: &'static str,
        /// Everything that the process wrote.
        log: PathBuf,
        /// The last lines of `log`, so that an error is enough without the file.
        tail: String,
    },
    /// A part was asked for something that it cannot be given.
    #[error("{field}: {problem}")]
    Input {
        /// The option at fault.
        field: &'static str,
        /// What is wrong with it, and what would be right.
        problem: String,
    },
    /// A private file or folder could not be made, read or removed.
    #[error("{}: {source}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A command could not be run to its end.
    #[error("running {program}: {source}")]
    Command {
        /// The program.
        program: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The Docker engine answered with an error, or not at all.
    #[error("Docker engine: {call}: {source}")]
    Engine {
        /// The call that failed.
        call: &'static str,
        /// What the engine said.
        source: bollard::errors::Error,
    },
    /// The database server is up but refused what starting needs.
    #[error("Postgres: {call}: {source}")]
    Postgres {
        /// What was tried.
        call: &'static str,
        /// What the server said.
        source: sqlx::Error,
    },
}

impl PartsError {
    /// For `map_err` on file work on `path`.
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }

    /// For `map_err` on an engine's call.
    pub(crate) fn engine(call: &'static str) -> impl FnOnce(bollard::errors::Error) -> Self {
        move |source| Self::Engine { call, source }
    }
}
