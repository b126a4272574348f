//! GitHub's answers to calls of its API, and what a refused one means.

use std::time::Duration;

use reqwest::{Response, StatusCode, header::HeaderMap};

use crate::bounded;
use crate::clients::{ClientError, ErrorKind};

pub(super) const CALL: &str = "GitHub API";

/// Maximum number of bytes to read of an error response: GitHub's have a few hundred.
const MAX_ERROR_BODY_BYTES: usize = 64 << 10;

/// Reason why a repository cannot be connected.
#[derive(Debug, thiserror::Error)]
pub enum GitHubError {
    /// GitHub does not know the token, or the token has expired.
    #[error("GitHub refuses the token")]
    BadToken,
    /// The repository does not exist, or the token may not see it: GitHub answers the same for both.
    #[error("the repository does not exist, or the token cannot see it")]
    RepositoryNotFound,
    /// The repository exists, but has no branch of this name.
    #[error("the repository has no such branch")]
    BranchNotFound,
    /// The token is valid but lacks the permission to read the contents.
    #[error("the token may not read the repository: {0}")]
    NoAccess(String),
    /// GitHub rejects further calls with this token for now.
    #[error("GitHub's rate limit is reached")]
    RateLimited {
        /// Time until the next call is allowed; `None` when GitHub does not report it.
        retry_after: Option<Duration>,
    },
    /// The private key of the App is no RSA key.
    #[error("the private key of the App cannot sign")]
    AppKeyUnusable,
    /// GitHub does not accept the signature of the App, for this reason.
    #[error("GitHub refuses the App: {0}")]
    AppRefused(String),
    /// The App has no such installation, or none any more.
    #[error("the App has no such installation")]
    InstallationNotFound,
    /// The account has suspended the installation.
    #[error("the installation of the App is suspended")]
    InstallationSuspended,
    /// The clock of this machine differs from GitHub's by this number of seconds.
    #[error("GitHub's clock is {0} s ahead of this machine's")]
    ClockSkew(i64),
    /// GitHub does not accept the code of a manifest, for this reason.
    #[error("GitHub refuses the code: {0}")]
    ManifestCodeRefused(String),
    /// GitHub did not answer, or the answer is not understood.
    #[error(transparent)]
    Unavailable(#[from] ClientError),
}

impl From<GitHubError> for ClientError {
    fn from(error: GitHubError) -> Self {
        let kind = match &error {
            GitHubError::Unavailable(inner) => return inner.clone(),
            GitHubError::RateLimited { .. } => ErrorKind::Throttled,
            GitHubError::ClockSkew(_) => ErrorKind::Unavailable,
            GitHubError::BadToken
            | GitHubError::NoAccess(_)
            | GitHubError::AppKeyUnusable
            | GitHubError::AppRefused(_)
            | GitHubError::InstallationNotFound
            | GitHubError::ManifestCodeRefused(_)
            | GitHubError::InstallationSuspended => ErrorKind::Credentials,
            GitHubError::RepositoryNotFound | GitHubError::BranchNotFound => ErrorKind::NotFound,
        };
        Self::new(kind, CALL, error)
    }
}

/// Returns the answer if it is a success.
pub(super) async fn accepted(answer: Response, not_found: GitHubError) -> Result<Response, GitHubError> {
    let status = answer.status();
    match status {
        status if status.is_success() => Ok(answer),
        StatusCode::UNAUTHORIZED => Err(GitHubError::BadToken),
        // A renamed repository: GitHub redirects to the new name, so the given name is no longer the right one.
        StatusCode::NOT_FOUND | StatusCode::MOVED_PERMANENTLY | StatusCode::TEMPORARY_REDIRECT => Err(not_found),
        StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS if is_limited(status, answer.headers()) => {
            Err(GitHubError::RateLimited { retry_after: retry_after(answer.headers(), chrono::Utc::now().timestamp()) })
        }
        StatusCode::FORBIDDEN => Err(GitHubError::NoAccess(message(answer).await)),
        status => {
            let kind = ErrorKind::of_status(status.as_u16());
            Err(ClientError::new(kind, CALL, format!("status {}: {}", status.as_u16(), message(answer).await)).into())
        }
    }
}

/// Distinguishes a rate limit from a missing permission: GitHub answers 403 for both, and only the headers differ.
fn is_limited(status: StatusCode, headers: &HeaderMap) -> bool {
    let is = |name: &str, value: &str| headers.get(name).is_some_and(|header| header == value);
    status == StatusCode::TOO_MANY_REQUESTS || is("x-ratelimit-remaining", "0") || headers.contains_key("retry-after")
}

fn retry_after(headers: &HeaderMap, now: i64) -> Option<Duration> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.parse::<i64>().ok();
    let seconds = number("retry-after").or_else(|| number("x-ratelimit-reset").map(|at| at - now))?;
    Some(Duration::from_secs(seconds.try_into().unwrap_or(0)))
}

/// Extracts GitHub's error message from the response, if it has the format of GitHub.
pub(super) async fn message(answer: Response) -> String {
    #[derive(serde::Deserialize)]
    struct Problem {
        message: String,
    }
    let read = bounded::body(answer, MAX_ERROR_BODY_BYTES).await.ok();
    let problem = read.and_then(|body| serde_json::from_slice::<Problem>(&body).ok());
    problem.map_or_else(|| "no reason given".into(), |problem| problem.message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distinguishes_rate_limits_by_headers() {
        let headers = |pairs: &[(&'static str, &'static str)]| -> HeaderMap {
            pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
        };
        assert!(!is_limited(StatusCode::FORBIDDEN, &headers(&[("x-ratelimit-remaining", "12")])));
        let limited = headers(&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1060")]);
        assert!(is_limited(StatusCode::FORBIDDEN, &limited));
        assert_eq!(retry_after(&limited, 1_000), Some(Duration::from_mins(1)));
        assert_eq!(retry_after(&limited, 2_000), Some(Duration::ZERO));
        assert_eq!(retry_after(&headers(&[("retry-after", "5")]), 0), Some(Duration::from_secs(5)));
        assert_eq!(retry_after(&headers(&[]), 0), None);
    }
}
