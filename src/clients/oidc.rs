//! The keys of an OpenID Connect issuer: where its discovery document says that they are, kept for a while.
//!
//! A key that is known is used without waiting, whatever the issuer does meanwhile. Fetching is a separate task, one at a time for each
//! issuer: no request that goes away takes it along, and only tokens whose key is not known wait for its end, a bounded number of them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, PublicKeyUse};
use reqwest::{Client, redirect::Policy};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout};

use super::{ClientError, ErrorKind, error::chain};
use crate::bounded::{self, BodyError};
use crate::domain::claims::is_fit;

const CALL: &str = "OpenID Connect issuer";

/// How long a fetch may take, both of its requests together.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Most bytes of an answer: GitHub's keys are 5 kB.
const MAX_ANSWER: usize = 256 * 1024;

/// Most keys of one issuer. Those in use have fewer than ten.
const MAX_KEYS: usize = 100;

/// Most tokens that wait for the keys of one issuer at once: anybody can send some with a key that does not exist.
const MAX_WAITING: usize = 64;

/// Shortest time between two fetches that no token asks for.
const SHORTEST_REFRESH: Duration = Duration::from_secs(1);

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
pub struct IssuerKeys(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    issuer: String,
    times: Times,
    http: Client,
    kept: Mutex<Kept>,
    /// Changes when a fetch has ended.
    fetched: watch::Sender<()>,
    waiting: Semaphore,
}

#[derive(Debug, Default)]
struct Kept {
    keys: Option<(Arc<Vec<Jwk>>, Instant)>,
    /// When the last fetch began.
    tried: Option<Instant>,
    /// Why the last fetch brought nothing; none when it did.
    failure: Option<ClientError>,
    /// Whether one is under way.
    fetching: bool,
    /// Whether a task refreshes them.
    refreshed: bool,
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Value>,
}

/// What is known of a key now.
enum Look {
    Known(Jwk),
    /// Not there, and the issuer was asked just now.
    Settled(Result<Option<Jwk>, ClientError>),
    /// A fetch is under way, which may bring it.
    Pending(watch::Receiver<()>),
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
        let (issuer, kept, fetched) = (issuer.to_owned(), Mutex::default(), watch::Sender::new(()));
        Ok(Self(Arc::new(Inner { issuer, times, http, kept, fetched, waiting: Semaphore::new(MAX_WAITING) })))
    }

    /// The signing keys that may be meant by `id`: the one of this id, or the only one there is when the token names none. One that is not
    /// known is looked for at the issuer, which may have changed its keys just now.
    pub async fn key(&self, id: Option<&str>) -> Result<Option<Jwk>, ClientError> {
        // Twice: the fetch that was under way may have begun before the issuer had the key.
        for _ in 0..2 {
            let mut fetched = match self.0.look(id) {
                Look::Known(key) => return Ok(Some(key)),
                Look::Settled(answer) => return answer,
                Look::Pending(fetched) => fetched,
            };
            let Ok(_place) = self.0.waiting.try_acquire() else {
                let busy = "too many tokens wait for its keys";
                return Err(ClientError::new(ErrorKind::Unavailable, CALL, busy.to_owned()));
            };
            // A fetch has an end. The sender lives as long as we do.
            let _ = fetched.changed().await;
        }
        self.0.kept().settled(id, self.0.times)
    }
}

impl Inner {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Each change is one assignment: a panic while the lock was held does no harm.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of the key; begins a fetch where that is due.
    fn look(self: &Arc<Self>, id: Option<&str>) -> Look {
        let mut kept = self.kept();
        if let Some(key) = kept.usable(id, self.times) {
            if !kept.is_fresh(self.times) {
                self.begin(&mut kept);
            }
            return Look::Known(key);
        }
        // Before the fetch begins: its end is not missed.
        let fetched = self.fetched.subscribe();
        if self.begin(&mut kept) { Look::Pending(fetched) } else { Look::Settled(kept.settled(id, self.times)) }
    }

    /// Whether a fetch is under way now: one that is, or a new one unless the last began just now.
    fn begin(self: &Arc<Self>, kept: &mut Kept) -> bool {
        if !kept.refreshed {
            kept.refreshed = true;
            tokio::spawn(refresh(Arc::downgrade(self), self.times.fresh.max(SHORTEST_REFRESH)));
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
        let set: KeySet = self.get(&found.jwks_uri).await?;
        if set.keys.len() > MAX_KEYS {
            return Err(wrong(format!("it has {} keys; at most {MAX_KEYS} are taken", set.keys.len())));
        }
        // One of a kind that is not known here must not make the others unusable.
        let readable = set.keys.into_iter().filter_map(|key| serde_json::from_value::<Jwk>(key).ok());
        Ok(readable.filter(is_for_signatures).collect())
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
        let body = bounded::body(response, MAX_ANSWER).await.map_err(|error| match error {
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

/// A fetch that is under way. It ends for those who wait however it ends, also by a panic.
struct Fetch(Arc<Inner>);

impl Fetch {
    async fn run(self) {
        let inner = &self.0;
        let late = || ClientError::new(ErrorKind::Unavailable, CALL, format!("{} does not answer", inner.issuer));
        let fetched = timeout(TIMEOUT, inner.fetch()).await.unwrap_or_else(|_| Err(late()));
        let mut kept = inner.kept();
        match fetched {
            Ok(keys) => {
                kept.keys = Some((Arc::new(keys), Instant::now()));
                kept.failure = None;
            }
            Err(error) => {
                tracing::warn!(issuer = inner.issuer, %error, "the keys of an issuer cannot be fetched");
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

/// Fetches them again and again as long as they are used: a key that the issuer took back is forgotten also when no token comes.
async fn refresh(keys: Weak<Inner>, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        let Some(inner) = keys.upgrade() else { return };
        let mut kept = inner.kept();
        if !kept.is_fresh(inner.times) {
            inner.begin(&mut kept);
        }
    }
}

impl Kept {
    fn is_fresh(&self, times: Times) -> bool {
        self.keys.as_ref().is_some_and(|(_, at)| at.elapsed() < times.fresh)
    }

    /// The key, if it is there and not too old.
    fn usable(&self, id: Option<&str>, times: Times) -> Option<Jwk> {
        let usable = self.keys.as_ref().is_some_and(|(_, at)| at.elapsed() < times.stale);
        usable.then(|| self.find(id)).flatten()
    }

    /// The key, without asking for it.
    fn settled(&self, id: Option<&str>, times: Times) -> Result<Option<Jwk>, ClientError> {
        match (self.usable(id, times), &self.failure) {
            (Some(key), _) => Ok(Some(key)),
            // It may be a new one.
            (None, Some(failure)) => Err(failure.clone()),
            (None, None) => Ok(None),
        }
    }

    fn find(&self, id: Option<&str>) -> Option<Jwk> {
        let (keys, _) = self.keys.as_ref()?;
        match (id, keys.as_slice()) {
            (Some(id), keys) => keys.iter().find(|key| key.common.key_id.as_deref() == Some(id)).cloned(),
            (None, [only]) => Some(only.clone()),
            (None, _) => None,
        }
    }
}
