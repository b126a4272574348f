//! Errors of the commands, and their exit codes.

use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;

use crate::app::AppError;
use crate::db::DbError;
use crate::domain::lang::Lang;
use crate::domain::maintenance::RetentionKind;
use crate::domain::message::{Message, message};
use crate::telemetry::TelemetryError;

use super::api_words::{as_commands, option_of};
use super::lang::{lang, text};
use super::sanitize;

/// The exit codes, as `panda --help` lists them; 0 means success.
pub mod exit {
    /// The deployment ended with the status FAILED.
    pub const FAILED: u8 = 1;
    /// Wrong usage or bad input; also what clap exits with.
    pub const INPUT: u8 = 2;
    /// The server cannot be reached, or is temporarily unavailable.
    pub const UNREACHABLE: u8 = 3;
    /// The server refuses: not found, conflict, not allowed.
    pub const REFUSED: u8 = 4;
    /// Any other failure: a service that does not start, an unexpected response.
    pub const OTHER: u8 = 5;
    /// Something that a deployment needs is missing.
    pub const MISSING: u8 = 6;
    /// Nothing is known to be missing, but something that a deployment needs could not be looked up.
    pub const UNKNOWN: u8 = 7;
    /// Interrupted by Ctrl-C: 128 + SIGINT, as in shells.
    pub const INTERRUPTED: u8 = 130;
}

/// An error response of the API.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiProblem {
    /// Status code of HTTP.
    pub status: u16,
    /// The problem and its remedy.
    pub message: Option<String>,
    /// The same in the member that RFC 9457 defines; proxies before Panda send only this member.
    pub detail: Option<String>,
    /// Stable code, such as `INVALID_INPUT`.
    pub error_code: Option<String>,
    /// The invalid field of the body, path or query.
    pub field: Option<String>,
    pub deployment_id: Option<String>,
    /// Id of the request, under which the server's log has the cause; of the response's header.
    #[serde(skip)]
    pub request_id: Option<String>,
}

impl fmt::Display for ApiProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = self
            .message
            .as_deref()
            .or(self.detail.as_deref())
            .map_or_else(|| text(&message!("cli.no_reason")), str::to_owned);
        if let Some(field) = self.field.as_deref().filter(|field| !message.contains(*field)) {
            write!(f, "{}: ", option_of(field))?;
        }
        write!(f, "{}", sanitize::text(&as_commands(&message)))?;
        match &self.error_code {
            Some(code) => match self.request_id.as_deref().filter(|_| self.status == 500) {
                Some(request) => write!(f, " ({}, request {})", sanitize::line(code), sanitize::line(request)),
                None => write!(f, " ({})", sanitize::line(code)),
            },
            None => write!(f, " (HTTP {})", self.status),
        }
    }
}

/// An error that ends a command.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// Invalid input from the user.
    #[error("{}", text(&self.message()))]
    Input {
        /// The invalid option, variable or file.
        field: String,
        /// The problem, and what a valid value looks like.
        problem: Message,
    },
    /// Traces cannot be exported.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// The server did not answer.
    #[error("{}", text(&self.message()))]
    Unreachable {
        /// Address of the server.
        server: String,
        /// The innermost cause, such as "connection refused".
        reason: String,
    },
    /// The server answered with an error.
    #[error("{0}")]
    Refused(Box<ApiProblem>),
    /// The response is not one of Panda's.
    #[error("{}", text(&self.message()))]
    Protocol {
        /// Address of the server.
        server: String,
        /// The unexpected part of the response.
        reason: Message,
    },
    /// The watched deployment failed; its message was shown with the events.
    #[error("{}", text(&self.message()))]
    DeploymentFailed {
        /// Id of the deployment.
        id: String,
        /// Message of the failure.
        message: Message,
    },
    /// An error that the command has shown already.
    #[error("{0}")]
    Shown(Box<CliError>),
    /// A deployment is not started, because something that it needs is missing.
    #[error("{}", text(&self.message()))]
    NotReady,
    /// A maintenance run failed.
    #[error("{}", text(&self.message()))]
    Maintenance {
        /// Kind of data that the run should have removed.
        kind: RetentionKind,
        /// Cause as the server reports it.
        reason: String,
    },
    /// Stored secrets cannot be decrypted, or new ones not encrypted.
    #[error("{}", text(&self.message()))]
    Keys(Message),
    /// The demo or the sandbox did not behave as expected.
    #[cfg(feature = "dev")]
    #[error("{}", text(&self.message()))]
    Demo(Message),
    /// Some services could not be stopped; the stop of each was tried.
    #[cfg(feature = "dev")]
    #[error("{}", text(&self.message()))]
    Stop(String),
    /// The command was interrupted.
    #[error("{}", text(&self.message()))]
    Interrupted,
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Path of the file.
        path: PathBuf,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// A dev service failed.
    #[cfg(feature = "dev")]
    #[error(transparent)]
    DevServices(#[from] panda_dev_services::DevServicesError),
    /// The sandbox did not start.
    #[cfg(feature = "dev")]
    #[cfg(feature = "dev")]
    #[error(transparent)]
    Sandbox(#[from] panda_sandbox::SandboxError),
    /// The sandbox's git server failed.
    #[cfg(feature = "dev")]
    #[error(transparent)]
    Git(#[from] panda_sandbox::git::GitError),
    /// A database error of a command that works on the database.
    #[error("{}", text(&self.message()))]
    Db(#[from] DbError),
    /// The database refuses the connection.
    #[error("{}", text(&self.message()))]
    DatabaseRefused {
        /// The cause, without names: readiness shows the same text without authentication.
        #[source]
        error: DbError,
        /// Database, role and servers of the URL.
        address: Message,
    },
    /// The server did not start, or failed.
    #[error(transparent)]
    App(#[from] AppError),
}

impl CliError {
    /// The text for people. Errors of the server and of the dev services are in English.
    fn message(&self) -> Message {
        match self {
            Self::Input { field, problem } => message!("cli.input", field, problem = problem.clone()),
            Self::Unreachable { server, reason } => message!("cli.unreachable", server, reason),
            Self::Refused(problem) => Message::verbatim(problem.to_string()),
            Self::Protocol { server, reason } => message!("cli.protocol", server, reason = reason.clone()),
            Self::DeploymentFailed { id, message } => {
                message!("cli.deployment_failed", id, message = message.clone())
            }
            Self::NotReady => message!("cli.check_not_ready"),
            Self::Maintenance { kind, reason } => message!("cli.maintenance_failed", kind = kind.as_str(), reason),
            Self::Keys(message) => message.clone(),
            #[cfg(feature = "dev")]
            Self::Demo(message) => message.clone(),
            #[cfg(feature = "dev")]
            Self::Stop(problems) => message!("cli.stop_failed", problems),
            Self::Interrupted => message!("cli.interrupted"),
            Self::Db(error) => database(error),
            Self::DatabaseRefused { error, address } => {
                message!("cli.database_refused", error = database(error), address = address.clone())
            }
            other => Message::verbatim(other.to_string()),
        }
    }

    /// An [`CliError::Input`] for the option, variable or file `field`; `problem` is a predicate or a sentence about it.
    pub fn input(field: impl Into<String>, problem: Message) -> Self {
        Self::Input { field: field.into(), problem }
    }

    /// The exit code of the process.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::DeploymentFailed { .. } => exit::FAILED,
            Self::Shown(error) => error.exit_code(),
            Self::NotReady => exit::MISSING,
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

/// In English with the library's text, which operators search for.
fn database(error: &DbError) -> Message {
    if lang() == Lang::En { Message::verbatim(error.to_string()) } else { error.message() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(status: u16) -> ApiProblem {
        ApiProblem {
            status,
            message: Some("must be a GitHub account".to_owned()),
            detail: None,
            error_code: Some("INVALID_INPUT".to_owned()),
            field: Some("owner".to_owned()),
            deployment_id: None,
            request_id: Some("req-1".to_owned()),
        }
    }

    #[test]
    fn names_the_field_once() {
        assert_eq!(problem(400).to_string(), "owner: must be a GitHub account (INVALID_INPUT)");
        let named = ApiProblem { message: Some("owner: must not be empty".to_owned()), ..problem(400) };
        assert_eq!(named.to_string(), "owner: must not be empty (INVALID_INPUT)");
    }

    #[test]
    fn names_the_request_of_internal_errors() {
        assert_eq!(problem(500).to_string(), "owner: must be a GitHub account (INVALID_INPUT, request req-1)");
    }

    #[test]
    fn strips_terminal_sequences() {
        let steering = ApiProblem { message: Some("red \u{1b}[31m and \u{9b}2J".to_owned()), ..problem(500) };
        assert!(!steering.to_string().contains(['\u{1b}', '\u{9b}']));
    }

    #[test]
    fn maps_statuses_to_exit_codes() {
        let code = |status| CliError::Refused(Box::new(problem(status))).exit_code();
        assert_eq!([code(400), code(413), code(422)], [exit::INPUT; 3]);
        assert_eq!([code(401), code(404), code(409)], [exit::REFUSED; 3]);
        assert_eq!([code(503), code(429)], [exit::UNREACHABLE; 2]);
        assert_eq!(code(500), exit::OTHER);
    }
}
