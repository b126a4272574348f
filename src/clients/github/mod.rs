//! Calls to GitHub's REST API: the two that connecting a repository needs here, and what deployments show at GitHub in `deployments`.

mod answer;
mod app;
pub mod deployments;
mod manifest;

use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder, Response, redirect::Policy};
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

pub use self::answer::GitHubError;
use self::answer::{CALL, accepted};
use self::app::InstallationTokens;
pub use self::manifest::ManifestApp;
use super::{ClientError, ErrorKind};
use crate::domain::github_app::GithubApp;
use crate::domain::mask::Mask;
use crate::domain::text::chain;
use crate::domain::validate;
use crate::failpoints::around;

/// Client for GitHub's REST API.
#[derive(Clone, Debug)]
pub struct GitHub {
    api_url: Url,
    http: Client,
    tokens: InstallationTokens,
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
        Ok(Self { api_url, http, tokens: InstallationTokens::default() })
    }

    /// Returns the token of a stored credential: itself, or a current one of the App's installation.
    ///
    /// # Errors
    /// GitHub gives the App no token.
    pub async fn access_token(&self, credential: &SecretString) -> Result<SecretString, GitHubError> {
        match GithubApp::of_secret(credential) {
            Some(app) => self.tokens.get(&self.http, &self.api_url, &app).await,
            None => Ok(credential.clone()),
        }
    }

    /// Drops a token of the credential that was refused, so that the next use requests another; nothing for a personal token.
    pub fn forget(&self, credential: &SecretString) {
        if let Some(app) = GithubApp::of_secret(credential) {
            self.tokens.forget(&app);
        }
    }

    /// Checks that a stored credential can read the branch of the repository.
    pub async fn check(
        &self,
        owner: &str,
        repo: &str,
        branch: &str,
        credential: &SecretString,
    ) -> Result<(), GitHubError> {
        let token = self.access_token(credential).await?;
        match self.check_token(owner, repo, branch, &token).await {
            // The installation may have been suspended, or installed again, since the token was requested.
            Err(GitHubError::BadToken) if GithubApp::of_secret(credential).is_some() => {
                self.forget(credential);
                let token = self.access_token(credential).await?;
                self.check_token(owner, repo, branch, &token).await
            }
            checked => checked,
        }
    }

    async fn check_token(
        &self,
        owner: &str,
        repo: &str,
        branch: &str,
        token: &SecretString,
    ) -> Result<(), GitHubError> {
        self.check_branch(owner, repo, branch, token).await.map_err(|error| masked(error, token))
    }

    async fn check_branch(
        &self,
        owner: &str,
        repo: &str,
        branch: &str,
        token: &SecretString,
    ) -> Result<(), GitHubError> {
        let repository = self.get(&["repos", owner, repo], token).await?;
        accepted(repository, GitHubError::RepositoryNotFound).await?;
        let branch = self.get(&["repos", owner, repo, "branches", branch], token).await?;
        accepted(branch, GitHubError::BranchNotFound).await?;
        Ok(())
    }

    async fn get(&self, segments: &[&str], token: &SecretString) -> Result<Response, GitHubError> {
        send(self.request(Method::GET, segments, token)?).await
    }

    fn request(&self, method: Method, segments: &[&str], token: &SecretString) -> Result<RequestBuilder, GitHubError> {
        let request = self.http.request(method, endpoint(&self.api_url, segments)?).bearer_auth(token.expose_secret());
        Ok(request.header("accept", "application/vnd.github+json").header("x-github-api-version", "2022-11-28"))
    }
}

/// The address of a call. Characters that a path segment cannot contain, such as the slashes of a branch name, are percent-encoded.
fn endpoint(api: &Url, segments: &[&str]) -> Result<Url, GitHubError> {
    let mut url = api.clone();
    url.path_segments_mut()
        .map_err(|()| ClientError::new(ErrorKind::Invalid, CALL, "the API's URL cannot have a path"))?
        .pop_if_empty()
        .extend(segments);
    Ok(url)
}

async fn send(request: RequestBuilder) -> Result<Response, GitHubError> {
    // The error text would include the URL, which does not help the user and hides the cause.
    let answer = around(CALL, request.send()).await;
    answer.map_err(|error| ClientError::new(ErrorKind::Unavailable, CALL, chain(&error.without_url())).into())
}

/// Hides the token where GitHub's text repeats it.
fn masked(mut error: GitHubError, token: &SecretString) -> GitHubError {
    if let GitHubError::NoAccess(said)
    | GitHubError::ManifestCodeRefused(said)
    | GitHubError::Unavailable(ClientError { message: said, .. }) = &mut error
    {
        Mask::of([token]).string(said);
    }
    error
}
