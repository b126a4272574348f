//! The exchange of a code for the App that GitHub created from a manifest:
//! <https://docs.github.com/rest/apps/apps#create-a-github-app-from-a-manifest>.

use reqwest::StatusCode;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use url::Url;

use super::answer::{GitHubError, accepted, message};
use super::{GitHub, endpoint, masked};
use crate::bounded;
use crate::clients::{ClientError, ErrorKind};
use crate::domain::text::{chain, cut};
use crate::failpoints::around;

/// Name of the call in errors and fail points.
const CALL: &str = "GitHub App manifest";

/// Most bytes of the answer: a key of 4096 bits has 3,250, and the rest some thousand.
const MAX_ANSWER_BYTES: usize = 256 << 10;

/// Longest name and address that are stored, in characters.
const MAX_TEXT: usize = 255;

/// An App that GitHub created from a manifest.
#[derive(Clone, Debug)]
pub struct ManifestApp {
    /// Id at GitHub, a number.
    pub app_id: String,
    /// Name that was chosen at GitHub.
    pub name: String,
    /// Its page at GitHub.
    pub address: Url,
    /// Its private key, which GitHub shows once.
    pub private_key: SecretString,
    /// Secret with which GitHub signs its events; none without a webhook.
    pub webhook_secret: Option<SecretString>,
}

#[derive(Deserialize)]
struct Answer {
    id: u64,
    name: String,
    html_url: String,
    pem: SecretString,
    webhook_secret: Option<SecretString>,
}

impl GitHub {
    /// Exchanges the code, which is possible once.
    ///
    /// # Errors
    /// [`GitHubError::ManifestCodeRefused`] for a code that is unknown, used or expired.
    pub async fn exchange_manifest_code(&self, code: &SecretString) -> Result<ManifestApp, GitHubError> {
        let url = endpoint(&self.api_url, &["app-manifests", code.expose_secret(), "conversions"])?;
        let request = self.http.post(url).header("accept", "application/vnd.github+json");
        // The code is part of the address, which errors must not repeat.
        let answer = around(CALL, request.header("x-github-api-version", "2022-11-28").send()).await;
        let answer = answer.map_err(|error| unavailable(chain(&error.without_url())))?;
        if matches!(answer.status(), StatusCode::NOT_FOUND | StatusCode::UNPROCESSABLE_ENTITY) {
            return Err(masked(GitHubError::ManifestCodeRefused(message(answer).await), code));
        }
        let redirected = GitHubError::Unavailable(ClientError::new(ErrorKind::Invalid, CALL, "GitHub redirects"));
        let answer = accepted(answer, redirected).await.map_err(|error| masked(error, code))?;
        let body = bounded::body(answer, MAX_ANSWER_BYTES).await.map_err(unavailable)?;
        let unread = || unavailable("the answer has not the form of an App");
        let Answer { id, name, html_url, pem, webhook_secret } = serde_json::from_slice(&body).map_err(|_| unread())?;
        let address =
            Url::parse(&html_url).ok().filter(|_| html_url.len() <= MAX_TEXT && !name.is_empty()).ok_or_else(unread)?;
        Ok(ManifestApp {
            app_id: id.to_string(),
            name: cut(&name, MAX_TEXT),
            address,
            private_key: pem,
            webhook_secret,
        })
    }
}

fn unavailable(cause: impl std::fmt::Display) -> GitHubError {
    ClientError::new(ErrorKind::Unavailable, CALL, cause).into()
}
