//! Errors of connecting a GitHub repository, as clients see them.

use std::time::Duration;

use crate::clients::github::GitHubError;
use crate::http::error::problem::{Problem, RETRY_AFTER, problem_types};

/// `Retry-After` when GitHub's rate limit names no time.
const RATE_LIMIT_RETRY_AFTER: Duration = Duration::from_mins(1);

problem_types! {
    GitHubError:
    BadToken => BAD_REQUEST, "GITHUB_TOKEN_REFUSED", "GitHub does not confirm the repository";
    RepositoryNotFound => BAD_REQUEST, "GITHUB_REPOSITORY_NOT_FOUND", "GitHub does not confirm the repository";
    BranchNotFound => BAD_REQUEST, "GITHUB_BRANCH_NOT_FOUND", "GitHub does not confirm the repository";
    NoAccess => BAD_REQUEST, "GITHUB_ACCESS_DENIED", "GitHub does not confirm the repository";
    RateLimited => SERVICE_UNAVAILABLE, "GITHUB_RATE_LIMITED", "GitHub's rate limit is reached";
    Unavailable => BAD_GATEWAY, "GITHUB_UNAVAILABLE", "GitHub is unavailable";
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

    fn detail(&self) -> String {
        match self {
            Self::BadToken => {
                "token: GitHub rejects the token. Create a new one with read access to the repository's contents."
                    .to_owned()
            }
            Self::RepositoryNotFound => {
                "repo: GitHub has no such repository, or the token may not see it. Check owner and repo, and the token's access."
                    .to_owned()
            }
            Self::BranchNotFound => "branch: the repository has no such branch. Check its name on GitHub.".to_owned(),
            Self::NoAccess(reason) => {
                format!("token: the token may not read the repository ({reason}). Give it read access to its contents.")
            }
            Self::RateLimited { .. } => {
                "GitHub accepts no more calls with this token for now. Nothing was stored; try again later.".to_owned()
            }
            Self::Unavailable(error) => {
                format!("GitHub could not confirm the repository ({error}). Nothing was stored; try again.")
            }
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
