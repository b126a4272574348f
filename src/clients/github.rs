//! The two GitHub API calls that connecting a repository needs.

use std::time::Duration;

use reqwest::{Client, Response, StatusCode, header::HeaderMap, redirect::Policy};
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::{ClientError, ErrorKind};
use crate::bounded;
use crate::domain::mask::Mask;
use crate::domain::text::chain;
use crate::domain::validate;
use crate::failpoints::around;

const CALL: &str = "GitHub API";

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
    /// GitHub did not answer, or the answer is not understood.
    #[error(transparent)]
    Unavailable(#[from] ClientError),
}

/// Client for GitHub's REST API.
#[derive(Clone, Debug)]
pub struct GitHub {
    api_url: Url,
    http: Client,
}

impl GitHub {
    /// Creates a client for the API at `api_url` (`https://api.github.com`); each call ends within `timeout`. Fails if TLS cannot be set up, and for
    /// an address that a token must not be sent to.
    pub fn new(api_url: Url, timeout: Duration) -> Result<Self, ClientError> {
        validate::private_url(&api_url).map_err(|rule| ClientError::new(ErrorKind::Invalid, CALL, rule))?;
        let http = Client::builder()
            .timeout(timeout)
            .user_agent(concat!("panda/", env!("CARGO_PKG_VERSION")))
            // The token must reach this host only.
            .redirect(Policy::none())
            .build()
            .map_err(|error| ClientError::new(ErrorKind::Invalid, CALL, chain(&error)))?;
        Ok(Self { api_url, http })
    }

    /// Checks that the token can read the branch of the repository.
    pub async fn check(&self, owner: &str, repo: &str, branch: &str, token: &SecretString) -> Result<(), GitHubError> {
        self.check_branch(owner, repo, branch, token).await.map_err(|mut error| {
            if let GitHubError::NoAccess(said) | GitHubError::Unavailable(ClientError { message: said, .. }) =
                &mut error
            {
                Mask::of([token]).string(said);
            }
            error
        })
    }

    async fn check_branch(
        &self,
        owner: &str,
        repo: &str,
        branch: &str,
        token: &SecretString,
    ) -> Result<(), GitHubError> {
        let repository = self.get(&["repos", owner, repo], token).await?;
        check_response(repository, GitHubError::RepositoryNotFound).await?;
        let branch = self.get(&["repos", owner, repo, "branches", branch], token).await?;
        check_response(branch, GitHubError::BranchNotFound).await
    }

    async fn get(&self, segments: &[&str], token: &SecretString) -> Result<Response, GitHubError> {
        let mut url = self.api_url.clone();
        url.path_segments_mut()
            .map_err(|()| ClientError::new(ErrorKind::Invalid, CALL, "the API's URL cannot have a path"))?
            .pop_if_empty()
            // Percent-encodes characters that a path segment cannot contain, such as the slashes of a branch name.
            .extend(segments);
        let request =
            self.http.get(url).bearer_auth(token.expose_secret()).header("accept", "application/vnd.github+json");
        let answer = around(CALL, request.header("x-github-api-version", "2022-11-28").send()).await;
        // The error text would include the URL, which does not help the user and hides the cause.
        answer.map_err(|error| ClientError::new(ErrorKind::Unavailable, CALL, chain(&error.without_url())).into())
    }
}

async fn check_response(answer: Response, not_found: GitHubError) -> Result<(), GitHubError> {
    let status = answer.status();
    match status {
        status if status.is_success() => Ok(()),
        StatusCode::UNAUTHORIZED => Err(GitHubError::BadToken),
        // A renamed repository: GitHub redirects to the new name, so the given name is no longer the right one.
        StatusCode::NOT_FOUND | StatusCode::MOVED_PERMANENTLY => Err(not_found),
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
async fn message(answer: Response) -> String {
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
