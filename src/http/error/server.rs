//! Errors of the server as a whole: paths that do not exist, readiness, and faults.

use super::problem::{Problem, RETRY_AFTER, problem_types};
use crate::domain::message::{Message, message};

/// Reason why the server has no answer of an endpoint.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// No route matches the path.
    #[error("no such path")]
    RouteNotFound,
    /// The path exists, but not with this method.
    #[error("method not allowed")]
    MethodNotAllowed,
    /// The process is starting or shutting down, or depends on something unavailable.
    #[error("not ready: {0}")]
    NotReady(Message),
    /// An internal error. Only the log has its details.
    #[error("internal error")]
    Internal,
}

problem_types! {
    ServerError:
    RouteNotFound => NOT_FOUND, "ROUTE_NOT_FOUND";
    MethodNotAllowed => METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED";
    NotReady => SERVICE_UNAVAILABLE, "NOT_READY";
    Internal => INTERNAL_SERVER_ERROR, "INTERNAL";
}

impl ServerError {
    pub(super) fn problem(&self) -> Problem {
        let problem = Problem::new(self.problem_type(), self.detail());
        if matches!(self, Self::NotReady(_)) { problem.retry_after(RETRY_AFTER) } else { problem }
    }

    fn detail(&self) -> Message {
        match self {
            Self::RouteNotFound => message!("ROUTE_NOT_FOUND.detail"),
            Self::MethodNotAllowed => message!("METHOD_NOT_ALLOWED.detail"),
            Self::NotReady(reason) => message!("NOT_READY.detail", reason = reason.clone()),
            Self::Internal => message!("INTERNAL.detail"),
        }
    }

    #[cfg(test)]
    pub(super) fn samples() -> Vec<Self> {
        vec![Self::RouteNotFound, Self::MethodNotAllowed, Self::NotReady(Message::verbatim("{reason}")), Self::Internal]
    }
}
