//! The error of the dev services: names the cause and a remedy.

use std::path::PathBuf;

/// A dev service could not be found, started or used.
#[derive(Debug, thiserror::Error)]
pub enum DevServicesError {
    /// A program that the service needs is not installed.
    #[error("{part} is not available on this machine: {reason}. {remedy}")]
    Missing {
        /// Name of the service ("Docker engine").
        part: &'static str,
        /// The missing program, and the places that were searched.
        reason: String,
        /// Remedy: a command, where one is enough.
        remedy: &'static str,
    },
    /// The service's process was started but did not become ready.
    #[error("{part} could not start: {reason}. {remedy}\nIts log is {}; the last lines:\n{tail}", log.display())]
    Start {
        /// Name of the service.
        part: &'static str,
        /// An exit status, or a time limit that passed.
        reason: String,
        /// Advice to the user.
        remedy: &'static str,
        /// File with the output of the process.
        log: PathBuf,
        /// The last lines of `log`, so that the error suffices without the file.
        tail: String,
    },
    /// An option of a service is invalid.
    #[error("{field}: {problem}")]
    Input {
        /// Name of the option.
        field: &'static str,
        /// The problem, and what a valid value looks like.
        problem: String,
    },
    /// A private file or folder could not be created, read or removed.
    #[error("{}: {source}", path.display())]
    File {
        /// Path of the file or folder.
        path: PathBuf,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// A command could not be run to its end.
    #[error("running {program}: {source}")]
    Command {
        /// Name of the program.
        program: String,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// A call of the Docker engine failed or got no answer.
    #[error("Docker engine: {call}: {source}")]
    Engine {
        /// Name of the call.
        call: &'static str,
        /// Error of the engine.
        source: bollard::errors::Error,
    },
    /// The database server runs, but rejected a statement that the start needs.
    #[error("Postgres: {call}: {source}")]
    Postgres {
        /// Purpose of the statement.
        call: &'static str,
        /// Error of the server.
        source: sqlx::Error,
    },
}

impl DevServicesError {
    /// Returns a function for `map_err` after an operation on `path`.
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }

    /// Returns a function for `map_err` after a call of the engine.
    pub(crate) fn engine(call: &'static str) -> impl FnOnce(bollard::errors::Error) -> Self {
        move |source| Self::Engine { call, source }
    }
}
