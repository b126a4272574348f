//! Errors of connecting a GitHub repository, as clients see them.

use std::time::Duration;

use crate::clients::github::GitHubError;
use crate::domain::message::{Message, message};
use crate::http::error::problem::{Problem, RETRY_AFTER, problem_types};

/// `Retry-After` when GitHub's rate limit names no time.
const RATE_LIMIT_RETRY_AFTER: Duration = Duration::from_mins(1);

problem_types! {
    GitHubError:
    BadToken => BAD_REQUEST, "GITHUB_TOKEN_REFUSED";
    RepositoryNotFound => BAD_REQUEST, "GITHUB_REPOSITORY_NOT_FOUND";
    BranchNotFound => BAD_REQUEST, "GITHUB_BRANCH_NOT_FOUND";
    NoAccess => BAD_REQUEST, "GITHUB_ACCESS_DENIED";
    RateLimited => SERVICE_UNAVAILABLE, "GITHUB_RATE_LIMITED";
    Unavailable => BAD_GATEWAY, "GITHUB_UNAVAILABLE";
}

impl GitHubError {
    pub(in crate::http) fn problem(&self) -> Problem {
        let problem = Problem::new(self.problem_type(), self.detail());
        match self {
            Self::BadToken | Self::NoAccess(_) => problem.field("token"),
            Self::RepositoryNotFound => problem.field("repo"),
            Self::BranchNotFound => problem.field("branch"),
            Self::RateLimited { retry_after } => problem.retry_after(retry_after.unwrap_or(RATE_LIMIT_RETRY_AFTER)),
            Self::Unavailable(_) => problem.retry_after(RETRY_AFTER),
        }
    }

    fn detail(&self) -> Message {
        match self {
            Self::BadToken => message!("GITHUB_TOKEN_REFUSED.detail"),
            Self::RepositoryNotFound => message!("GITHUB_REPOSITORY_NOT_FOUND.detail"),
            Self::BranchNotFound => message!("GITHUB_BRANCH_NOT_FOUND.detail"),
            Self::NoAccess(reason) => message!("GITHUB_ACCESS_DENIED.detail", reason),
            Self::RateLimited { .. } => message!("GITHUB_RATE_LIMITED.detail"),
            Self::Unavailable(error) => message!("GITHUB_UNAVAILABLE.detail", error = error.to_string()),
        }
    }

    #[cfg(test)]
    pub(in crate::http) fn samples() -> Vec<Self> {
        use crate::clients::{ClientError, ErrorKind};
        vec![
            Self::BadToken,
            Self::RepositoryNotFound,
            Self::BranchNotFound,
            Self::NoAccess("{reason}".to_owned()),
            Self::RateLimited { retry_after: None },
            Self::Unavailable(ClientError::new(ErrorKind::Unavailable, "{call}", "{reason}")),
        ]
    }
}
