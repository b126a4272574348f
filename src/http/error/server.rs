//! Errors of the server as a whole: paths that do not exist, readiness, and faults.

use super::problem::{Problem, RETRY_AFTER, problem_types};

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
    NotReady(String),
    /// An internal error. Only the log has its details.
    #[error("internal error")]
    Internal,
}

problem_types! {
    ServerError:
    RouteNotFound => NOT_FOUND, "ROUTE_NOT_FOUND", "No such path";
    MethodNotAllowed => METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", "The method is not allowed";
    NotReady => SERVICE_UNAVAILABLE, "NOT_READY", "Not ready";
    Internal => INTERNAL_SERVER_ERROR, "INTERNAL", "Internal error";
}

impl ServerError {
    pub(super) fn problem(&self) -> Problem {
        let problem = Problem::new(self.problem_type(), self.detail());
        if matches!(self, Self::NotReady(_)) { problem.retry_after(RETRY_AFTER) } else { problem }
    }

    fn detail(&self) -> String {
        match self {
            Self::RouteNotFound => "This path does not exist. /swagger-ui lists the existing ones.".to_owned(),
            Self::MethodNotAllowed => "This path accepts other methods: the Allow header lists them.".to_owned(),
            Self::NotReady(what) => format!("Not ready: {what}."),
            Self::Internal => {
                "Something went wrong on the server. Its log has the cause, under this response's X-Request-Id."
                    .to_owned()
            }
        }
    }

    #[cfg(test)]
    pub(super) fn samples() -> Vec<Self> {
        vec![Self::RouteNotFound, Self::MethodNotAllowed, Self::NotReady("{reason}".to_owned()), Self::Internal]
    }
}
