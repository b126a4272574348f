//! Why a command ended badly, and the exit code that says so to a script.

use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;

use crate::app::AppError;
use crate::db::DbError;
use crate::domain::maintenance::Kind;
use crate::sandbox::SandboxError;
use crate::sandbox::git::GitError;
use crate::sandbox::parts::PartsError;
use crate::telemetry::TelemetryError;

use super::clean;

/// The exit codes, as `panda --help` lists them; 0 means that what was asked for is done.
pub mod exit {
    /// The deployment failed.
    pub const FAILED: u8 = 1;
    /// Wrong usage or bad input; also what clap exits with.
    pub const INPUT: u8 = 2;
    /// The server cannot be reached, or says that it cannot work now.
    pub const UNREACHABLE: u8 = 3;
    /// The server refuses: not found, conflict, not allowed.
    pub const REFUSED: u8 = 4;
    /// Something else: a part that does not start, an answer that makes no sense.
    pub const OTHER: u8 = 5;
    /// Ended by Ctrl-C, as shells have it.
    pub const INTERRUPTED: u8 = 130;
}

/// An error answer of the API.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// HTTP status.
    pub status: u16,
    /// What is wrong and what to do about it.
    pub message: Option<String>,
    /// The same in RFC 9457's own member, for servers in front of Panda's.
    pub detail: Option<String>,
    /// Stable code.
    pub error_code: Option<String>,
    /// The field of the body, path or query that is at fault.
    pub field: Option<String>,
    /// The deployment concerned.
    pub deployment_id: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = self.message.as_deref().or(self.detail.as_deref()).unwrap_or("the server gave no reason");
        if let Some(field) = self.field.as_deref().filter(|field| !message.contains(*field)) {
            write!(f, "{}: ", clean::line(field))?;
        }
        write!(f, "{}", clean::text(message))?;
        match &self.error_code {
            Some(code) => write!(f, " ({code}, HTTP {})", self.status, code = clean::line(code)),
            None => write!(f, " (HTTP {})", self.status),
        }
    }
}

/// Why a command ended badly.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// What the user gave cannot be used.
    #[error("{field}: {problem}")]
    Input {
        /// Option, variable or file at fault.
        field: String,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// No traces can be sent.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// No answer from the server.
    #[error(
        "no answer from {server}: {reason}. Is it running (panda up, panda serve)? Another address goes into --server or PANDA_SERVER."
    )]
    Unreachable {
        /// The address that was tried.
        server: String,
        /// The innermost reason.
        reason: String,
    },
    /// The server answered with an error.
    #[error("{0}")]
    Refused(Box<Problem>),
    /// The server's answer is not one of Panda's.
    #[error("{server} does not answer as Panda does ({reason}): is --server right?")]
    Protocol {
        /// The address.
        server: String,
        /// What was found.
        reason: String,
    },
    /// The deployment that was watched failed; its message was shown with the events.
    #[error("deployment {id} failed: {message}")]
    DeploymentFailed {
        /// Its id.
        id: String,
        /// Why.
        message: String,
    },
    /// A run of maintenance failed.
    #[error("maintenance of {kind} failed: {reason}")]
    Maintenance {
        /// What it was to remove.
        kind: Kind,
        /// Why.
        reason: String,
    },
    /// A demo or a sandbox did not behave as it must.
    #[error("{0}")]
    Demo(String),
    /// Several things went wrong while stopping; each was tried.
    #[error("not everything could be stopped: {0}")]
    Stop(String),
    /// The command was interrupted.
    #[error("interrupted")]
    Interrupted,
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A part of the local set-up failed.
    #[error(transparent)]
    Parts(#[from] PartsError),
    /// The sandbox did not start.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// The sandbox's git server.
    #[error(transparent)]
    Git(#[from] GitError),
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
    /// Panda itself.
    #[error(transparent)]
    App(#[from] AppError),
}

impl CliError {
    /// An [`CliError::Input`].
    pub fn input(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Input { field: field.into(), problem: problem.into() }
    }

    /// What the process exits with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::DeploymentFailed { .. } => exit::FAILED,
            Self::Input { .. } => exit::INPUT,
            Self::Unreachable { .. } => exit::UNREACHABLE,
            Self::Refused(problem) => match problem.status {
                400 | 413 | 415 | 422 => exit::INPUT,
                429 | 502..=504 => exit::UNREACHABLE,
                400..=499 => exit::REFUSED,
                _ => exit::OTHER,
            },
            Self::Interrupted => exit::INTERRUPTED,
            _ => exit::OTHER,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(status: u16) -> Problem {
        Problem {
            status,
            message: Some("must be a GitHub account".to_owned()),
            detail: None,
            error_code: Some("INVALID_INPUT".to_owned()),
            field: Some("owner".to_owned()),
            deployment_id: None,
        }
    }

    #[test]
    fn a_problem_names_its_field_once() {
        assert_eq!(problem(400).to_string(), "owner: must be a GitHub account (INVALID_INPUT, HTTP 400)");
        let named = Problem { message: Some("owner: must not be empty".to_owned()), ..problem(400) };
        assert_eq!(named.to_string(), "owner: must not be empty (INVALID_INPUT, HTTP 400)");
    }

    #[test]
    fn a_problem_cannot_steer_the_terminal() {
        let steering = Problem { message: Some("red \u{1b}[31m and \u{9b}2J".to_owned()), ..problem(500) };
        assert!(!steering.to_string().contains(['\u{1b}', '\u{9b}']));
    }

    #[test]
    fn scripts_can_tell_the_reasons_apart() {
        let code = |status| CliError::Refused(Box::new(problem(status))).exit_code();
        assert_eq!([code(400), code(413), code(422)], [exit::INPUT; 3]);
        assert_eq!([code(401), code(404), code(409)], [exit::REFUSED; 3]);
        assert_eq!([code(503), code(429)], [exit::UNREACHABLE; 2]);
        assert_eq!(code(500), exit::OTHER);
    }
}
