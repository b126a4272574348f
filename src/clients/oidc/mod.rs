//! Cache of what an OpenID Connect issuer publishes: its signing keys, found through the discovery document, and the endpoints of its sign-in, which
//! `code` uses.
//!
//! A cached key is used without waiting, whatever happens at the issuer meanwhile. Fetching runs in a separate task, one at a time per issuer, so a
//! request that is dropped does not abort it. Only tokens whose key is not cached wait for it, and their number is bounded.

mod code;

use std::sync::{Arc, Weak};
use std::time::Duration;

use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, PublicKeyUse};
use parking_lot::{Mutex, MutexGuard};
use reqwest::{Client, redirect::Policy};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout};
use url::Url;

use super::{ClientError, ErrorKind};
use crate::bounded::{self, BodyError};
use crate::domain::oidc_claims::is_safe_address;
use crate::domain::text::chain;
pub use code::{Authorization, CodeExchange, ExchangeError};

const CALL: &str = "OpenID Connect issuer";

/// Time limit of a fetch: both of its requests together.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Maximum number of bytes of a response: GitHub's keys are 5 kB.
const MAX_RESPONSE_BYTES: usize = 256 * 1024;

/// Maximum number of keys of one issuer. Real issuers have fewer than ten.
const MAX_KEYS: usize = 100;

/// Maximum number of tokens that wait for the keys of one issuer concurrently: anyone can send tokens with a key id that does not exist.
const MAX_WAITING: usize = 64;

/// Shortest time between two fetches that no token asks for.
const MIN_REFRESH_INTERVAL: Duration = Duration::from_secs(1);

/// Lifetimes of cached keys.
#[derive(Clone, Copy, Debug)]
pub struct KeyLifetimes {
    /// Age after which keys are fetched again, so that a key which the issuer has withdrawn is dropped.
    pub fresh: Duration,
    /// Age up to which keys are used while the issuer is unavailable.
    pub stale: Duration,
    /// Minimum time between two fetches: anyone can send tokens that name keys which do not exist.
    pub pause: Duration,
}

impl Default for KeyLifetimes {
    fn default() -> Self {
        Self { fresh: Duration::from_mins(15), stale: Duration::from_hours(6), pause: Duration::from_secs(10) }
    }
}

/// Cached keys of one issuer, shared by all requests.
#[derive(Debug)]
pub struct IssuerKeys(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    issuer: String,
    times: KeyLifetimes,
    http: Client,
    kept: Mutex<KeyCache>,
    /// Notified when a fetch has ended.
    fetched: watch::Sender<()>,
    waiting: Semaphore,
    /// Held while a code is exchanged.
    exchanging: Semaphore,
}

#[derive(Debug, Default)]
struct KeyCache {
    published: Option<(Arc<Published>, Instant)>,
    /// Start of the last fetch.
    tried: Option<Instant>,
    /// Error of the last fetch; `None` if it succeeded.
    failure: Option<ClientError>,
    /// Set while a fetch is running.
    fetching: bool,
    /// Set once the refresh task has been started.
    refreshed: bool,
}

/// What an issuer publishes.
#[derive(Debug)]
struct Published {
    keys: Vec<Jwk>,
    /// None when the document names no sign-in, or an unsafe address.
    endpoints: Option<Endpoints>,
}

/// Addresses of an issuer's sign-in.
#[derive(Clone, Debug)]
struct Endpoints {
    authorization: Url,
    token: Url,
    /// True when a client must send its secret in the body, false for the header `Authorization`.
    secret_in_body: bool,
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
    authorization_endpoint: Option<String>,
    token_endpoint: Option<String>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
}

impl Discovery {
    fn endpoints(&self) -> Option<Endpoints> {
        let safe = |address: &Option<String>| -> Option<Url> {
            let address = address.as_deref()?;
            is_safe_address(address.split('?').next()?).then(|| address.parse().ok()).flatten()
        };
        // The header is the default of OpenID Connect Discovery.
        let methods = self.token_endpoint_auth_methods_supported.iter().flatten();
        let names: Vec<&str> = methods.map(String::as_str).collect();
        let secret_in_body = names.contains(&"client_secret_post") && !names.contains(&"client_secret_basic");
        let (authorization, token) = (safe(&self.authorization_endpoint)?, safe(&self.token_endpoint)?);
        Some(Endpoints { authorization, token, secret_in_body })
    }
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Value>,
}

/// Result of looking up a key or the endpoints in the cache.
enum Lookup<T> {
    Known(T),
    /// It is not cached, and the issuer was asked too recently to ask again.
    Answered(Result<Option<T>, ClientError>),
    /// A running fetch may bring it.
    Pending(watch::Receiver<()>),
}

impl IssuerKeys {
    /// Creates an empty cache for `issuer` without contacting it. Fails only if TLS cannot be set up.
    pub fn new(issuer: &str, times: KeyLifetimes) -> Result<Self, ClientError> {
        let http = Client::builder()
            .timeout(TIMEOUT)
            .user_agent(concat!("panda/", env!("CARGO_PKG_VERSION")))
            // Keys must come from exactly the given address.
            .redirect(Policy::none());
        let http = if issuer.starts_with("http://") { http.no_proxy() } else { http };
        let http = http.build().map_err(|error| ClientError::new(ErrorKind::Invalid, CALL, chain(&error)))?;
        let (issuer, kept, fetched) = (issuer.to_owned(), Mutex::default(), watch::Sender::new(()));
        let (waiting, exchanging) = (Semaphore::new(MAX_WAITING), Semaphore::new(code::MAX_EXCHANGES));
        Ok(Self(Arc::new(Inner { issuer, times, http, kept, fetched, waiting, exchanging })))
    }

    /// Returns the signing key with this id, or the issuer's only key when the token names none. A key that is not cached is fetched: the issuer may
    /// have rotated its keys just now.
    pub async fn key(&self, id: Option<&str>) -> Result<Option<Jwk>, ClientError> {
        self.find(|published| published.key(id)).await
    }

    async fn find<T>(&self, find: impl Fn(&Published) -> Option<T>) -> Result<Option<T>, ClientError> {
        // Two rounds: a fetch that was already running may have begun before the issuer had the key.
        for _ in 0..2 {
            let mut fetched = match self.0.lookup(&find) {
                Lookup::Known(found) => return Ok(Some(found)),
                Lookup::Answered(answer) => return answer,
                Lookup::Pending(fetched) => fetched,
            };
            let Ok(_waiting_slot) = self.0.waiting.try_acquire() else {
                let busy = "too many tokens wait for its keys";
                return Err(ClientError::new(ErrorKind::Unavailable, CALL, busy.to_owned()));
            };
            // A fetch always ends. The sender lives as long as `self`.
            let _ = fetched.changed().await;
        }
        self.0.kept().cached_answer(&find, self.0.times)
    }
}

impl Inner {
    fn kept(&self) -> MutexGuard<'_, KeyCache> {
        // Each change is one assignment, so a panic while the lock was held leaves no inconsistent state.
        self.kept.lock()
    }

    /// Looks a key or the endpoints up in the cache, and starts a fetch where one is due.
    fn lookup<T>(self: &Arc<Self>, find: impl Fn(&Published) -> Option<T>) -> Lookup<T> {
        let mut kept = self.kept();
        if let Some(found) = kept.usable(&find, self.times) {
            if !kept.is_fresh(self.times) {
                self.begin_fetch(&mut kept);
            }
            return Lookup::Known(found);
        }
        // Subscribed before the fetch begins, so that its end is not missed.
        let fetched = self.fetched.subscribe();
        if self.begin_fetch(&mut kept) {
            Lookup::Pending(fetched)
        } else {
            Lookup::Answered(kept.cached_answer(&find, self.times))
        }
    }

    /// Starts a fetch unless one is running or the last one began too recently. Returns whether a fetch is running now.
    fn begin_fetch(self: &Arc<Self>, kept: &mut KeyCache) -> bool {
        if !kept.refreshed {
            kept.refreshed = true;
            tokio::spawn(refresh(Arc::downgrade(self), self.times.fresh.max(MIN_REFRESH_INTERVAL)));
        }
        if kept.fetching {
            return true;
        }
        if kept.tried.is_some_and(|at| at.elapsed() < self.times.pause) {
            return false;
        }
        kept.tried = Some(Instant::now());
        kept.fetching = true;
        let fetch = Fetch(Arc::clone(self));
        tokio::spawn(async move { fetch.run().await });
        true
    }

    async fn fetch(&self) -> Result<Published, ClientError> {
        let document = format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'));
        let found: Discovery = self.get(&document).await?;
        let wrong = |what: String| ClientError::new(ErrorKind::Invalid, CALL, what);
        if found.issuer != self.issuer {
            return Err(wrong(format!("{document} belongs to another issuer, {:?}", found.issuer)));
        }
        if !is_safe_address(found.jwks_uri.split('?').next().unwrap_or_default()) {
            return Err(wrong("its jwks_uri is not an https URL".to_owned()));
        }
        let set: KeySet = self.get(&found.jwks_uri).await?;
        if set.keys.len() > MAX_KEYS {
            return Err(wrong(format!("it has {} keys; at most {MAX_KEYS} are accepted", set.keys.len())));
        }
        // A key of an unknown type must not make the others unusable.
        let readable = set.keys.into_iter().filter_map(|key| serde_json::from_value::<Jwk>(key).ok());
        Ok(Published { keys: readable.filter(is_for_signatures).collect(), endpoints: found.endpoints() })
    }

    async fn get<T: DeserializeOwned>(&self, url: &str) -> Result<T, ClientError> {
        let unavailable = |error: &reqwest::Error| ClientError::new(ErrorKind::Unavailable, CALL, chain(error));
        let response = self.http.get(url).send().await.map_err(|error| unavailable(&error))?;
        let status = response.status();
        if !status.is_success() {
            return Err(ClientError::new(
                ErrorKind::of_status(status.as_u16()),
                CALL,
                format!("{url} answered with status {status}"),
            ));
        }
        let body = bounded::body(response, MAX_RESPONSE_BYTES).await.map_err(|error| match error {
            BodyError::TooLong(_) => ClientError::new(ErrorKind::Invalid, CALL, format!("{url}: {error}")),
            BodyError::Broken(_) => ClientError::new(ErrorKind::Unavailable, CALL, error),
        })?;
        let unreadable = |error| ClientError::new(ErrorKind::Invalid, CALL, format!("{url} cannot be read: {error}"));
        serde_json::from_slice(&body).map_err(unreadable)
    }
}

/// Excludes symmetric keys, which must never be in a public list, and keys for encryption.
fn is_for_signatures(key: &Jwk) -> bool {
    let usable = !matches!(key.algorithm, AlgorithmParameters::OctetKey(_) | AlgorithmParameters::Other(_));
    usable && !matches!(key.common.public_key_use, Some(PublicKeyUse::Encryption))
}

/// A running fetch. Its `drop` wakes the waiting requests however the fetch ends, panics included.
struct Fetch(Arc<Inner>);

impl Fetch {
    async fn run(self) {
        let inner = &self.0;
        let timed_out = || ClientError::new(ErrorKind::Unavailable, CALL, format!("{} does not answer", inner.issuer));
        let fetched = timeout(TIMEOUT, inner.fetch()).await.unwrap_or_else(|_| Err(timed_out()));
        let mut kept = inner.kept();
        match fetched {
            Ok(published) => {
                kept.published = Some((Arc::new(published), Instant::now()));
                kept.failure = None;
            }
            Err(error) => {
                tracing::warn!(issuer = inner.issuer, %error, "signing keys of issuer not fetched");
                kept.failure = Some(error);
            }
        }
    }
}

impl Drop for Fetch {
    fn drop(&mut self) {
        self.0.kept().fetching = false;
        self.0.fetched.send_replace(());
    }
}

/// Fetches the keys periodically as long as they are used, so that a withdrawn key is dropped even when no token arrives.
async fn refresh(keys: Weak<Inner>, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        let Some(inner) = keys.upgrade() else { return };
        let mut kept = inner.kept();
        if !kept.is_fresh(inner.times) {
            inner.begin_fetch(&mut kept);
        }
    }
}

impl KeyCache {
    fn is_fresh(&self, times: KeyLifetimes) -> bool {
        self.published.as_ref().is_some_and(|(_, at)| at.elapsed() < times.fresh)
    }

    /// Returns what `find` finds, if it is cached and not too old.
    fn usable<T>(&self, find: impl Fn(&Published) -> Option<T>, times: KeyLifetimes) -> Option<T> {
        let (published, at) = self.published.as_ref()?;
        if at.elapsed() < times.stale { find(published) } else { None }
    }

    /// Answers from the cache and the last fetch, without a new fetch.
    fn cached_answer<T>(
        &self,
        find: impl Fn(&Published) -> Option<T>,
        times: KeyLifetimes,
    ) -> Result<Option<T>, ClientError> {
        match (self.usable(find, times), &self.failure) {
            (Some(found), _) => Ok(Some(found)),
            // A key may be new, so the last error is the better answer.
            (None, Some(failure)) => Err(failure.clone()),
            (None, None) => Ok(None),
        }
    }
}

impl Published {
    fn key(&self, id: Option<&str>) -> Option<Jwk> {
        match (id, self.keys.as_slice()) {
            (Some(id), keys) => keys.iter().find(|key| key.common.key_id.as_deref() == Some(id)).cloned(),
            (None, [only]) => Some(only.clone()),
            (None, _) => None,
        }
    }
}
