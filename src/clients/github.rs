//! The two calls of GitHub's API that connecting needs.

use std::time::Duration;

use reqwest::{Client, Response, StatusCode, header::HeaderMap, redirect::Policy};
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::{ClientError, ErrorKind, error::chain};
use crate::bounded;
use crate::domain::mask::Mask;
use crate::domain::validate;
use crate::failpoints::around;

const CALL: &str = "GitHub API";

/// Most bytes of a refusal: GitHub's own are a few hundred.
const MOST_REFUSAL: usize = 64 << 10;

/// Why a repository cannot be connected.
#[derive(Debug, thiserror::Error)]
pub enum GitHubError {
    /// GitHub does not know the token, or it has expired.
    #[error("GitHub refuses the token")]
    BadToken,
    /// No such repository, or the token may not see it: GitHub says the same for both.
    #[error("the repository does not exist, or the token cannot see it")]
    RepositoryNotFound,
    /// The repository has no such branch.
    #[error("the repository has no such branch")]
    BranchNotFound,
    /// The token is good but lacks the right to read the contents.
    #[error("the token may not read the repository: {0}")]
    NoAccess(String),
    /// Too many calls with this token.
    #[error("GitHub's rate limit is reached")]
    RateLimited {
        /// When to try again, as far as GitHub says.
        retry_after: Option<Duration>,
    },
    /// GitHub did not answer, or not sensibly.
    #[error(transparent)]
    Unavailable(#[from] ClientError),
}

/// GitHub's REST API.
#[derive(Clone, Debug)]
pub struct GitHub {
    api_url: Url,
    http: Client,
}

impl GitHub {
    /// The API at `api_url` (`https://api.github.com`), each call within `timeout`. Fails where no TLS can be set up, and for an address
    /// that a token must not be sent to.
    pub fn new(api_url: Url, timeout: Duration) -> Result<Self, ClientError> {
        validate::private_url(&api_url).map_err(|rule| ClientError::new(ErrorKind::Invalid, CALL, rule))?;
        let http = Client::builder()
            .timeout(timeout)
            .user_agent(concat!("panda/", env!("CARGO_PKG_VERSION")))
            // A token is for this host only.
            .redirect(Policy::none())
            .build()
            .map_err(|error| ClientError::new(ErrorKind::Invalid, CALL, chain(&error)))?;
        Ok(Self { api_url, http })
    }

    /// Whether the token can read the branch of the repository.
    pub async fn check(&self, owner: &str, repo: &str, branch: &str, token: &SecretString) -> Result<(), GitHubError> {
        self.ask(owner, repo, branch, token).await.map_err(|mut error| {
            if let GitHubError::NoAccess(said) | GitHubError::Unavailable(ClientError { message: said, .. }) =
                &mut error
            {
                Mask::of([token]).string(said);
            }
            error
        })
    }

    async fn ask(&self, owner: &str, repo: &str, branch: &str, token: &SecretString) -> Result<(), GitHubError> {
        let repository = self.get(&["repos", owner, repo], token).await?;
        understood(repository, GitHubError::RepositoryNotFound).await?;
        let branch = self.get(&["repos", owner, repo, "branches", branch], token).await?;
        understood(branch, GitHubError::BranchNotFound).await
    }

    async fn get(&self, segments: &[&str], token: &SecretString) -> Result<Response, GitHubError> {
        let mut url = self.api_url.clone();
        url.path_segments_mut()
            .map_err(|()| ClientError::new(ErrorKind::Invalid, CALL, "the API's URL cannot have a path"))?
            .pop_if_empty()
            // Encodes what a segment cannot hold, a branch's slashes among them.
            .extend(segments);
        let request =
            self.http.get(url).bearer_auth(token.expose_secret()).header("accept", "application/vnd.github+json");
        let answer = around(CALL, request.header("x-github-api-version", "2022-11-28").send()).await;
        // The error's text would show the URL: of no use to the user, and longer than what matters.
        answer.map_err(|error| ClientError::new(ErrorKind::Unavailable, CALL, chain(&error.without_url())).into())
    }
}

async fn understood(answer: Response, not_found: GitHubError) -> Result<(), GitHubError> {
    let status = answer.status();
    match status {
        status if status.is_success() => Ok(()),
        StatusCode::UNAUTHORIZED => Err(GitHubError::BadToken),
        // A repository that was renamed: GitHub would send us on, but the name given is not its name any more.
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

/// GitHub answers 403 both for a missing right and for a limit; only the headers tell.
fn is_limited(status: StatusCode, headers: &HeaderMap) -> bool {
    let is = |name: &str, value: &str| headers.get(name).is_some_and(|header| header == value);
    status == StatusCode::TOO_MANY_REQUESTS || is("x-ratelimit-remaining", "0") || headers.contains_key("retry-after")
}

fn retry_after(headers: &HeaderMap, now: i64) -> Option<Duration> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.parse::<i64>().ok();
    let seconds = number("retry-after").or_else(|| number("x-ratelimit-reset").map(|at| at - now))?;
    Some(Duration::from_secs(seconds.try_into().unwrap_or(0)))
}

/// GitHub's own words, if the answer is GitHub's.
async fn message(answer: Response) -> String {
    #[derive(serde::Deserialize)]
    struct Problem {
        message: String,
    }
    let read = bounded::body(answer, MOST_REFUSAL).await.ok();
    let problem = read.and_then(|body| serde_json::from_slice::<Problem>(&body).ok());
    problem.map_or_else(|| "no reason given".into(), |problem| problem.message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_told_from_a_missing_right_by_the_headers() {
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
