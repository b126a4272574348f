//! Joins the errors of all areas. Each area has its own enum near its endpoints, which holds its codes and texts; [`problem`] has what a client receives
//! (RFC 9457).

mod command;
mod database;
#[cfg(test)]
pub(crate) mod documentation;
pub mod input;
pub mod problem;
pub mod server;

use axum::response::{IntoResponse, Response};

use self::input::InputError;
use self::problem::{Problem, ProblemType};
use self::server::ServerError;
use crate::clients::aws::RoleRefusal;
use crate::clients::github::GitHubError;
use crate::commands::connect::aws::error::AwsConnectError;
use crate::commands::connect::error::ConnectError;
use crate::commands::deploy::error::DeployError;
use crate::commands::freezes::error::FreezeError;
use crate::commands::github_apps::error::GithubAppError;
use crate::commands::push_hooks::error::PushHookError;
use crate::commands::receivers::error::ReceiverError;
use crate::commands::revocations::error::RevocationError;
use crate::commands::schedules::error::ScheduleError;
use crate::commands::tokens::error::TokenError;
use crate::db::DbError;
use crate::domain::validate::BrokenRule;
use crate::http::auth::error::AccessError;
use crate::http::middleware::error::AdmissionError;
use crate::http::routes::hooks::github::error::PushRequestError;
use crate::http::routes::mcp::error::McpError;
use crate::http::routes::reports::error::ReportError;
use crate::http::sse::error::StreamError;

/// An error that a client sees. Texts must not contain secrets or details of the server's network.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The request cannot be read.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The caller is not signed in, or may not do this.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The request was refused before its endpoint, or exceeded its time.
    #[error(transparent)]
    Admission(#[from] AdmissionError),
    /// An event stream cannot be opened.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// A deployment does not exist, or its state forbids the command.
    #[error(transparent)]
    Deploy(#[from] DeployError),
    /// A connection or build secret does not exist, or cannot be changed.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// GitHub did not confirm the repository and branch.
    #[error(transparent)]
    GitHub(#[from] GitHubError),
    /// An AWS account cannot be connected, or its connection cannot be used.
    #[error(transparent)]
    Aws(#[from] AwsConnectError),
    /// Panda may not assume the role.
    #[error(transparent)]
    Role(#[from] RoleRefusal),
    /// A schedule does not exist, or was changed concurrently.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// A report does not exist.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// A tool of `/mcp` does not exist, or is not permitted.
    #[error(transparent)]
    Mcp(#[from] McpError),
    /// A revocation does not exist.
    #[error(transparent)]
    Revocation(#[from] RevocationError),
    /// A freeze does not exist, or there are too many.
    #[error(transparent)]
    Freeze(#[from] FreezeError),
    /// An API token does not exist.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// A receiver does not exist, or cannot be changed.
    #[error(transparent)]
    Receiver(#[from] ReceiverError),
    /// A push hook does not exist, or cannot be changed.
    #[error(transparent)]
    PushHook(#[from] PushHookError),
    /// An App cannot be created from a manifest, found or used.
    #[error(transparent)]
    GithubApp(#[from] GithubAppError),
    /// An event of GitHub is not received.
    #[error(transparent)]
    PushRequest(#[from] PushRequestError),
    /// A database query failed; [`DbError`] distinguishes outages from faults.
    #[error(transparent)]
    Database(#[from] DbError),
    /// The server has no answer of an endpoint.
    #[error(transparent)]
    Server(#[from] ServerError),
}

impl ApiError {
    /// An invalid field, with the rule that it violates.
    pub fn field(field: impl Into<String>, rule: BrokenRule) -> Self {
        Self::Input(InputError::Field { field: field.into(), rule })
    }

    /// Stable error code for programs.
    pub const fn code(&self) -> &'static str {
        self.problem_type().code
    }

    const fn problem_type(&self) -> ProblemType {
        match self {
            Self::Input(error) => error.problem_type(),
            Self::Access(error) => error.problem_type(),
            Self::Admission(error) => error.problem_type(),
            Self::Stream(error) => error.problem_type(),
            Self::Deploy(error) => error.problem_type(),
            Self::Connect(error) => error.problem_type(),
            Self::GitHub(error) => error.problem_type(),
            Self::Aws(error) => error.problem_type(),
            Self::Role(error) => error.problem_type(),
            Self::Schedule(error) => error.problem_type(),
            Self::Report(error) => error.problem_type(),
            Self::Mcp(error) => error.problem_type(),
            Self::Revocation(error) => error.problem_type(),
            Self::Freeze(error) => error.problem_type(),
            Self::Token(error) => error.problem_type(),
            Self::Receiver(error) => error.problem_type(),
            Self::PushHook(error) => error.problem_type(),
            Self::GithubApp(error) => error.problem_type(),
            Self::PushRequest(error) => error.problem_type(),
            Self::Database(error) => database::problem_type(error),
            Self::Server(error) => error.problem_type(),
        }
    }

    /// The problem that a client receives.
    pub fn problem(&self) -> Problem {
        match self {
            Self::Input(error) => error.problem(),
            Self::Access(error) => error.problem(),
            Self::Admission(error) => error.problem(),
            Self::Stream(error) => error.problem(),
            Self::Deploy(error) => error.problem(),
            Self::Connect(error) => error.problem(),
            Self::GitHub(error) => error.problem(),
            Self::Aws(error) => error.problem(),
            Self::Role(error) => error.problem(),
            Self::Schedule(error) => error.problem(),
            Self::Report(error) => error.problem(),
            Self::Mcp(error) => error.problem(),
            Self::Revocation(error) => error.problem(),
            Self::Freeze(error) => error.problem(),
            Self::Token(error) => error.problem(),
            Self::Receiver(error) => error.problem(),
            Self::PushHook(error) => error.problem(),
            Self::GithubApp(error) => error.problem(),
            Self::PushRequest(error) => error.problem(),
            Self::Database(error) => database::problem(error),
            Self::Server(error) => error.problem(),
        }
    }
}

impl ApiError {
    /// Logs the error, as loudly as an operator must act.
    pub fn log(&self) {
        match self {
            // The callers of one class have used up its connections. A metric counts these, so the log need not.
            Self::Database(DbError::Busy(busy)) => tracing::debug!(%busy, "request rejected"),
            // Occurs at every request while the outage lasts; the heartbeat logs it too.
            Self::Database(error) if error.is_unavailable() => {
                tracing::warn!(%error, "request failed, the database is unavailable");
            }
            Self::Database(error) => tracing::error!(%error, "request failed at the database"),
            Self::Server(ServerError::Internal) => tracing::error!("request failed with an internal error"),
            _ => tracing::debug!(error = %self, "request refused"),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        self.log();
        self.problem().into_response()
    }
}
