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
    AppKeyUnusable => BAD_REQUEST, "GITHUB_APP_KEY_UNUSABLE";
    AppRefused => BAD_REQUEST, "GITHUB_APP_REFUSED";
    InstallationNotFound => BAD_REQUEST, "GITHUB_INSTALLATION_NOT_FOUND";
    InstallationSuspended => BAD_REQUEST, "GITHUB_INSTALLATION_SUSPENDED";
    ClockSkew => BAD_GATEWAY, "GITHUB_CLOCK_SKEW";
    ManifestCodeRefused => BAD_REQUEST, "GITHUB_APP_CODE_REFUSED";
    Unavailable => BAD_GATEWAY, "GITHUB_UNAVAILABLE";
}

impl GitHubError {
    pub(in crate::http) fn problem(&self) -> Problem {
        let problem = Problem::new(self.problem_type(), self.detail());
        match self {
            Self::BadToken | Self::NoAccess(_) => problem.field("token"),
            Self::RepositoryNotFound => problem.field("repo"),
            Self::BranchNotFound => problem.field("branch"),
            Self::AppKeyUnusable | Self::AppRefused(_) => problem.field("app.privateKey"),
            Self::InstallationNotFound | Self::InstallationSuspended => problem.field("app.installationId"),
            Self::ManifestCodeRefused(_) => problem.field("code"),
            Self::ClockSkew(_) => problem.retry_after(RATE_LIMIT_RETRY_AFTER),
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
            Self::AppKeyUnusable => message!("GITHUB_APP_KEY_UNUSABLE.detail"),
            Self::AppRefused(reason) => message!("GITHUB_APP_REFUSED.detail", reason),
            Self::InstallationNotFound => message!("GITHUB_INSTALLATION_NOT_FOUND.detail"),
            Self::InstallationSuspended => message!("GITHUB_INSTALLATION_SUSPENDED.detail"),
            Self::ClockSkew(seconds) => message!("GITHUB_CLOCK_SKEW.detail", seconds = *seconds),
            Self::ManifestCodeRefused(reason) => message!("GITHUB_APP_CODE_REFUSED.detail", reason),
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
            Self::AppKeyUnusable,
            Self::AppRefused("{reason}".to_owned()),
            Self::InstallationNotFound,
            Self::InstallationSuspended,
            Self::ClockSkew(120),
            Self::ManifestCodeRefused("{reason}".to_owned()),
            Self::Unavailable(ClientError::new(ErrorKind::Unavailable, "{call}", "{reason}")),
        ]
    }
}
