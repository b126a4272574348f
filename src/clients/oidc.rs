//! The keys of an OpenID Connect issuer: where its discovery document says that they are, kept for a while.

use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, JwkSet, PublicKeyUse};
use reqwest::{Client, redirect::Policy};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::body::BodyError;
use super::{ClientError, ErrorKind, body, error::chain};
use crate::domain::claims::is_fit;

const CALL: &str = "OpenID Connect issuer";

/// How long each of the two requests may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Most bytes of an answer: GitHub's keys are 5 kB.
const MAX_ANSWER: usize = 256 * 1024;

/// For how long keys are good.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// After this they are fetched again, so that one which the issuer has taken back is forgotten.
    pub fresh: Duration,
    /// So long they serve while the issuer cannot be asked.
    pub stale: Duration,
    /// Between two tries to fetch them: anybody can send tokens that name keys which there are not.
    pub pause: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self { fresh: Duration::from_mins(15), stale: Duration::from_hours(6), pause: Duration::from_secs(10) }
    }
}

/// The keys of one issuer.
#[derive(Debug)]
pub struct IssuerKeys {
    issuer: String,
    times: Times,
    http: Client,
    /// Held while they are fetched: those who come meanwhile wait for them, and do not ask as well.
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    keys: Option<(Arc<Vec<Jwk>>, Instant)>,
    tried: Option<Instant>,
    failure: Option<ClientError>,
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

impl IssuerKeys {
    /// Of `issuer`; nothing is asked yet. Fails only where no TLS can be set up.
    pub fn new(issuer: &str, times: Times) -> Result<Self, ClientError> {
        let http = Client::builder()
            .timeout(TIMEOUT)
            .user_agent(concat!("panda/", env!("CARGO_PKG_VERSION")))
            // Keys are those of the address that was given.
            .redirect(Policy::none());
        let http = if issuer.starts_with("http://") { http.no_proxy() } else { http };
        let http = http.build().map_err(|error| ClientError::new(ErrorKind::Invalid, CALL, chain(&error)))?;
        Ok(Self { issuer: issuer.to_owned(), times, http, kept: Mutex::default() })
    }

    /// The signing keys that may be meant by `id`: the one of this id, or the only one there is when the token names none. One that is not
    /// known is looked for at the issuer, which may have changed its keys just now.
    pub async fn key(&self, id: Option<&str>) -> Result<Option<Jwk>, ClientError> {
        let mut kept = self.kept.lock().await;
        let known =
            kept.keys.as_ref().is_some_and(|(_, at)| at.elapsed() < self.times.fresh).then(|| kept.find(id)).flatten();
        if known.is_some() {
            return Ok(known);
        }
        if kept.tried.is_none_or(|at| at.elapsed() >= self.times.pause) {
            kept.tried = Some(Instant::now());
            match self.fetch().await {
                Ok(keys) => {
                    kept.keys = Some((Arc::new(keys), Instant::now()));
                    kept.failure = None;
                }
                Err(error) => {
                    tracing::warn!(issuer = self.issuer, %error, "the keys of an issuer cannot be fetched");
                    kept.failure = Some(error);
                }
            }
        }
        let usable = kept.keys.as_ref().is_some_and(|(_, at)| at.elapsed() < self.times.stale);
        match (usable.then(|| kept.find(id)).flatten(), &kept.failure) {
            (Some(key), _) => Ok(Some(key)),
            // It may be a new one.
            (None, Some(failure)) => Err(failure.clone()),
            (None, None) => Ok(None),
        }
    }

    async fn fetch(&self) -> Result<Vec<Jwk>, ClientError> {
        let document = format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'));
        let found: Discovery = self.get(&document).await?;
        let wrong = |what: String| ClientError::new(ErrorKind::Invalid, CALL, what);
        if found.issuer != self.issuer {
            return Err(wrong(format!("{document} is of another issuer, {:?}", found.issuer)));
        }
        if !is_fit(found.jwks_uri.split('?').next().unwrap_or_default()) {
            return Err(wrong("its jwks_uri is no https address".to_owned()));
        }
        let set: JwkSet = self.get(&found.jwks_uri).await?;
        Ok(set.keys.into_iter().filter(is_for_signatures).collect())
    }

    async fn get<T: DeserializeOwned>(&self, url: &str) -> Result<T, ClientError> {
        let away = |error: &reqwest::Error| ClientError::new(ErrorKind::Unavailable, CALL, chain(error));
        let response = self.http.get(url).send().await.map_err(|error| away(&error))?;
        let status = response.status();
        if !status.is_success() {
            return Err(ClientError::new(
                ErrorKind::of_status(status.as_u16()),
                CALL,
                format!("{url} answers {status}"),
            ));
        }
        let body = body::read(response, MAX_ANSWER).await.map_err(|error| match error {
            BodyError::TooLong(_) => ClientError::new(ErrorKind::Invalid, CALL, format!("{url}: {error}")),
            BodyError::Broken(_) => ClientError::new(ErrorKind::Unavailable, CALL, error),
        })?;
        let unreadable = |error| ClientError::new(ErrorKind::Invalid, CALL, format!("{url} cannot be read: {error}"));
        serde_json::from_slice(&body).map_err(unreadable)
    }
}

/// Symmetric keys have no place in a public list.
fn is_for_signatures(key: &Jwk) -> bool {
    let usable = !matches!(key.algorithm, AlgorithmParameters::OctetKey(_) | AlgorithmParameters::Other(_));
    usable && !matches!(key.common.public_key_use, Some(PublicKeyUse::Encryption))
}

impl Kept {
    fn find(&self, id: Option<&str>) -> Option<Jwk> {
        let (keys, _) = self.keys.as_ref()?;
        match (id, keys.as_slice()) {
            (Some(id), keys) => keys.iter().find(|key| key.common.key_id.as_deref() == Some(id)).cloned(),
            (None, [only]) => Some(only.clone()),
            (None, _) => None,
        }
    }
}
