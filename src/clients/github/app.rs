//! Tokens of installations of GitHub Apps. A token is requested once for all concurrent users, kept in this process, and renewed some minutes before its
//! end: GitHub's last an hour.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use reqwest::{Client, Response, StatusCode, header};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;
use url::Url;

use super::answer::{CALL, GitHubError, accepted, message};
use super::endpoint;
use crate::bounded;
use crate::clients::{ClientError, ErrorKind};
use crate::domain::github_app::{AppKeyForm, GithubApp};
use crate::domain::text::chain;
use crate::failpoints::around;

/// Time for which a token is used. GitHub's last an hour; a fetch that begins with one may take some minutes. Counted from the request, so that the clocks
/// of two machines are not compared.
const LIFETIME: Duration = Duration::from_mins(50);

/// Difference of the clocks above which GitHub may refuse the assertion.
const MAX_SKEW_SECONDS: i64 = 60;

/// Time before now at which the assertion was issued, as GitHub recommends against differences of the clocks.
const ISSUED_BEFORE_SECONDS: i64 = 60;

/// Validity of the assertion; GitHub accepts ten minutes at most.
const VALID_SECONDS: i64 = 540;

/// Most bytes of the answer with a token: it lists permissions, and up to some hundred repositories.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// Most installations whose tokens are kept.
const MAX_KEPT: usize = 1_000;

/// A token, until its use ends.
type Slot = Arc<tokio::sync::Mutex<Option<(SecretString, Instant)>>>;

/// Tokens of installations. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct InstallationTokens {
    slots: Arc<Mutex<HashMap<[u8; 32], Slot>>>,
}

#[derive(Deserialize)]
struct Created {
    token: SecretString,
}

impl InstallationTokens {
    /// Returns a token that is valid for ten minutes more at least.
    pub(super) async fn get(&self, http: &Client, api: &Url, app: &GithubApp) -> Result<SecretString, GitHubError> {
        let slot = self.slot(app);
        // Held during the request: others wait for its token instead of requesting one each.
        let mut kept = slot.lock().await;
        if let Some((token, _)) = kept.as_ref().filter(|(_, end)| Instant::now() < *end) {
            return Ok(token.clone());
        }
        let begun = Instant::now();
        let token = create(http, api, app).await?;
        *kept = Some((token.clone(), begun + LIFETIME));
        Ok(token)
    }

    /// Drops the token of an installation that GitHub no longer accepts, so that the next use requests another.
    pub(super) fn forget(&self, app: &GithubApp) {
        self.slots.lock().remove(&key_of(app));
    }

    /// The slot of these credentials; another key has another one.
    fn slot(&self, app: &GithubApp) -> Slot {
        let key = key_of(app);
        let mut slots = self.slots.lock();
        if slots.len() >= MAX_KEPT && !slots.contains_key(&key) {
            slots.clear();
        }
        Arc::clone(slots.entry(key).or_default())
    }
}

fn key_of(app: &GithubApp) -> [u8; 32] {
    Sha256::digest(app.to_secret().expose_secret().as_bytes()).into()
}

async fn create(http: &Client, api: &Url, app: &GithubApp) -> Result<SecretString, GitHubError> {
    let now = Utc::now();
    let assertion = assertion(app, now)?;
    let url = endpoint(api, &["app", "installations", &app.installation_id.to_string(), "access_tokens"])?;
    let request = http.post(url).bearer_auth(assertion.expose_secret()).header("accept", "application/vnd.github+json");
    let answer = around(CALL, request.header("x-github-api-version", "2022-11-28").send()).await;
    let answer = answer.map_err(|error| ClientError::new(ErrorKind::Unavailable, CALL, chain(&error.without_url())))?;
    if answer.status().is_success() {
        let body = bounded::body(answer, MAX_ANSWER_BYTES).await;
        let body = body.map_err(|error| ClientError::new(ErrorKind::Unavailable, CALL, error))?;
        let created: Created = serde_json::from_slice(&body)
            .map_err(|_| ClientError::new(ErrorKind::Unavailable, CALL, "the answer has no token"))?;
        return Ok(created.token);
    }
    Err(refusal(answer, now).await)
}

/// What a refused assertion means.
async fn refusal(answer: Response, now: DateTime<Utc>) -> GitHubError {
    let skew = answer.headers().get(header::DATE).and_then(|date| date.to_str().ok());
    let skew =
        skew.and_then(|date| DateTime::parse_from_rfc2822(date).ok()).map(|date| (date.to_utc() - now).num_seconds());
    match answer.status() {
        StatusCode::UNAUTHORIZED => match skew {
            Some(seconds) if seconds.abs() > MAX_SKEW_SECONDS => GitHubError::ClockSkew(seconds),
            _ => GitHubError::AppRefused(message(answer).await),
        },
        StatusCode::FORBIDDEN if !answer.headers().contains_key("retry-after") => {
            let said = message(answer).await;
            if said.to_ascii_lowercase().contains("suspended") {
                GitHubError::InstallationSuspended
            } else {
                GitHubError::AppRefused(said)
            }
        }
        _ => match accepted(answer, GitHubError::InstallationNotFound).await {
            Err(error) => error,
            Ok(_) => GitHubError::InstallationNotFound,
        },
    }
}

/// The JSON Web Token with which the App signs in (RFC 7519, RS256).
fn assertion(app: &GithubApp, now: DateTime<Utc>) -> Result<SecretString, GitHubError> {
    let unusable = || GitHubError::AppKeyUnusable;
    let key = match app.key().map_err(|_| unusable())? {
        (AppKeyForm::Pkcs1, der) => RsaKeyPair::from_der(&der),
        (AppKeyForm::Pkcs8, der) => RsaKeyPair::from_pkcs8(&der),
    };
    let key = key.map_err(|_| unusable())?;
    let encode = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = encode(serde_json::json!({"alg": "RS256", "typ": "JWT"}));
    let claims = encode(serde_json::json!({
        "iat": now.timestamp() - ISSUED_BEFORE_SECONDS, "exp": now.timestamp() + VALID_SECONDS, "iss": app.app_id,
    }));
    let signed = format!("{header}.{claims}");
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).map_err(|_| unusable())?;
    Ok(SecretString::from(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))))
}
