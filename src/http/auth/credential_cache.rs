//! Cache of the tokens, sessions and OpenID Connect subjects in use, so that requests need not query the database for them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::credential_lookup::{Finder, Key, Lookups};
use crate::db::DbError;
use crate::db::tokens::{Accepted, CredentialForm};
use crate::domain::principal::Principal;
use crate::domain::token::SecretHash;

/// Interval at which all cached credentials are checked again, with one query a kind.
const REFRESH_INTERVAL: Duration = Duration::from_secs(2);

/// Age of a check after which a request queries the database itself. So no token is accepted longer than this after its revocation.
const CACHE_TTL: Duration = Duration::from_secs(5);

/// Idle time after which a credential that no stream holds is evicted.
const IDLE_TIMEOUT: Duration = Duration::from_mins(1);

/// A valid token, session or subject.
#[derive(Debug)]
pub(super) struct Credential {
    /// Hash of the token, or of the one that opened the session; none for a subject.
    pub token: Option<SecretHash>,
    pub form: CredentialForm,
    pub principal: Arc<Principal>,
    /// Expiry, converted from the database's clock; none for no expiry.
    pub until: Option<Instant>,
    /// Cancelled when the credential is no longer valid, and when the process shuts down.
    pub ended: CancellationToken,
    /// True when the credential is no longer valid. An atomic, because each stream reads it at each event.
    over: AtomicBool,
    times: Mutex<Times>,
}

#[derive(Clone, Copy, Debug)]
struct Times {
    /// Start of the last query that found the credential valid.
    confirmed: Instant,
    used: Instant,
}

/// The cache. Holds at most one [`Credential`] per key.
#[derive(Debug)]
pub struct CredentialCache {
    finder: Finder,
    lookups: Lookups,
    shutdown: CancellationToken,
    credentials: Mutex<HashMap<Key, Arc<Credential>>>,
}

impl Credential {
    /// True when the credential is no longer valid.
    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
        self.ended.cancel();
    }

    fn times(&self) -> MutexGuard<'_, Times> {
        self.times.lock()
    }

    /// Records the use, and returns true when the last check is recent enough to skip the database.
    fn is_fresh(&self) -> bool {
        let mut times = self.times();
        times.used = Instant::now();
        times.confirmed.elapsed() < CACHE_TTL
            && !self.is_over()
            && self.until.is_none_or(|until| until > Instant::now())
    }
}

impl CredentialCache {
    /// Creates an empty cache. Must be called within a Tokio runtime, because it spawns the task that looks up credentials.
    pub(super) fn new(finder: Finder, shutdown: CancellationToken) -> Self {
        let lookups = Lookups::start(finder.clone());
        Self { finder, lookups, shutdown, credentials: Mutex::default() }
    }

    /// A credential that is in no table and is valid as long as the process runs: the admin token's.
    pub(super) fn permanent(&self, hash: SecretHash, principal: Principal) -> Arc<Credential> {
        self.credential(Some(hash), CredentialForm::Token, principal, None, Instant::now())
    }

    /// Ends a credential in this process immediately; other processes notice at their next refresh.
    pub(super) fn evict(&self, key: &Key) {
        if let Some(evicted) = self.credentials().remove(key) {
            evicted.end();
        }
    }

    fn credential(
        &self,
        token: Option<SecretHash>,
        form: CredentialForm,
        principal: Principal,
        left: Option<Duration>,
        begun: Instant,
    ) -> Arc<Credential> {
        let times = Mutex::new(Times { confirmed: begun, used: begun });
        let (principal, ended) = (Arc::new(principal), self.shutdown.child_token());
        let until = left.and_then(|left| Instant::now().checked_add(left));
        Arc::new(Credential { token, form, principal, until, ended, over: AtomicBool::new(false), times })
    }

    /// The token or session; none when it is not valid.
    pub(super) async fn get(&self, key: Key) -> Result<Option<Arc<Credential>>, DbError> {
        self.get_as(key, Principal::without_authentication).await
    }

    /// The subject of a verified token; none when it is revoked.
    pub(super) async fn subject(&self, principal: &Principal) -> Result<Option<Arc<Credential>>, DbError> {
        self.get_as(Key::Subject(principal.subject.clone()), || principal.clone()).await
    }

    async fn get_as(
        &self,
        key: Key,
        principal: impl FnOnce() -> Principal + Send,
    ) -> Result<Option<Arc<Credential>>, DbError> {
        let cached = self.credentials().get(&key).cloned();
        if let Some(cached) = cached.filter(|cached| cached.is_fresh()) {
            return Ok(Some(cached));
        }
        let begun = Instant::now();
        let found = self.lookups.find(key.clone()).await?;
        let mut credentials = self.credentials();
        let Some(accepted) = found else {
            if let Some(evicted) = credentials.remove(&key) {
                evicted.end();
            }
            return Ok(None);
        };
        // Concurrent requests must share one entry: a stream that holds another one would not see its revocation.
        let credential = credentials.entry(key).or_insert_with(|| match accepted {
            Some(Accepted { token, form, principal, left, .. }) => self.credential(token, form, principal, left, begun),
            None => self.credential(None, CredentialForm::Token, principal(), None, begun),
        });
        credential.times().confirmed = begun;
        Ok(Some(Arc::clone(credential)))
    }

    /// Checks all cached credentials every [`REFRESH_INTERVAL`]. Never returns.
    pub(super) async fn refresh_periodically(&self) {
        let mut ticks = tokio::time::interval(REFRESH_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut unavailable = false;
        loop {
            ticks.tick().await;
            match self.refresh().await {
                Ok(()) => unavailable = false,
                // Logged once per outage: requests log it too, and nothing can be revoked meanwhile.
                Err(error) if !unavailable => {
                    tracing::warn!(%error, "credential refresh failed, cached credentials expire within seconds");
                    unavailable = true;
                }
                Err(_) => {}
            }
        }
    }

    async fn refresh(&self) -> Result<(), DbError> {
        let keys: Vec<Key> = {
            let mut credentials = self.credentials();
            credentials
                .retain(|_, cached| Arc::strong_count(cached) > 1 || cached.times().used.elapsed() < IDLE_TIMEOUT);
            credentials.keys().cloned().collect()
        };
        if keys.is_empty() {
            return Ok(());
        }
        let begun = Instant::now();
        let found = self.finder.find(&keys).await?;
        let mut credentials = self.credentials();
        for key in keys {
            if found.contains_key(&key) {
                if let Some(cached) = credentials.get(&key) {
                    cached.times().confirmed = begun;
                }
            } else if let Some(evicted) = credentials.remove(&key) {
                let kind = key.kind();
                tracing::info!(
                    subject = evicted.principal.subject,
                    kind,
                    "credential no longer valid, ending its streams"
                );
                evicted.end();
            }
        }
        Ok(())
    }

    fn credentials(&self) -> MutexGuard<'_, HashMap<Key, Arc<Credential>>> {
        self.credentials.lock()
    }
}
