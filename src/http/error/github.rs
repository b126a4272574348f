//! What GitHub says of a repository that is to be connected, as answers.

use std::borrow::Cow;
use std::time::Duration;

use axum::http::StatusCode;

use super::SOON;
use crate::clients::github::GitHubError;
use crate::http::problem::Problem;

/// When to come back after a limit without a time.
const LATER: Duration = Duration::from_mins(1);

pub(super) fn problem(error: &GitHubError) -> Problem {
    use StatusCode as S;
    let refused = |code, field: &'static str, detail: Cow<'static, str>| {
        Problem::new(S::BAD_REQUEST, code, "GitHub does not confirm the repository", format!("{field}: {detail}"))
            .field(field)
    };
    match error {
        GitHubError::BadToken => refused(
            "GITHUB_TOKEN_REFUSED",
            "token",
            "GitHub refuses the token. Make a new one that may read the repository's contents.".into(),
        ),
        GitHubError::RepositoryNotFound => refused(
            "GITHUB_REPOSITORY_NOT_FOUND",
            "repo",
            "GitHub has no such repository, or the token may not see it. Check owner and repo, and the token's access."
                .into(),
        ),
        GitHubError::BranchNotFound => refused(
            "GITHUB_BRANCH_NOT_FOUND",
            "branch",
            "the repository has no such branch. Check its name on GitHub.".into(),
        ),
        GitHubError::NoAccess(reason) => refused(
            "GITHUB_ACCESS_DENIED",
            "token",
            format!("the token may not read the repository ({reason}). Give it read access to its contents.").into(),
        ),
        GitHubError::RateLimited { retry_after } => Problem::new(
            S::SERVICE_UNAVAILABLE,
            "GITHUB_RATE_LIMITED",
            "GitHub's rate limit is reached",
            "GitHub takes no more calls with this token for now. Nothing was stored; try again later.",
        )
        .retry_after(retry_after.unwrap_or(LATER)),
        GitHubError::Unavailable(error) => Problem::new(
            S::BAD_GATEWAY,
            "GITHUB_UNAVAILABLE",
            "GitHub cannot be asked",
            format!("GitHub could not be asked about the repository ({error}). Nothing was stored; try again."),
        )
        .retry_after(SOON),
    }
}
