//! Tokens, sessions and subjects of OpenID Connect issuers that are in use, so that the database is not asked at each request whose they are.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::db::tokens::Accepted;
use crate::db::{Db, DbError};
use crate::domain::principal::Principal;
use crate::domain::token::SecretHash;

/// How often all that are in use are looked at, in one query for each kind.
const LOOK: Duration = Duration::from_secs(2);

/// How long a look is believed: after this the database is asked at the request. So no token is accepted longer than this after it was revoked.
const BELIEVED: Duration = Duration::from_secs(5);

/// A token that nobody used for this long, and no stream hangs on, is forgotten.
const FORGOTTEN: Duration = Duration::from_mins(1);

/// What is looked up, and where.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    Token(SecretHash),
    Session(SecretHash),
    /// A subject of an issuer, by its name here, which must not be revoked. Its tokens are verified at each request.
    Subject(String),
}

impl Key {
    fn kind(&self) -> &'static str {
        match self {
            Self::Token(_) => "token",
            Self::Session(_) => "session",
            Self::Subject(_) => "subject",
        }
    }
}

/// A token, session or subject that was accepted.
#[derive(Debug)]
pub(super) struct Credential {
    /// Of the token or session; none of a subject.
    pub hash: Option<SecretHash>,
    pub principal: Arc<Principal>,
    /// When it ends, as the database's clock had it; none for never.
    pub until: Option<Instant>,
    /// Cancelled when it is not accepted any more, and at the end of the process.
    pub ended: CancellationToken,
    /// The same, to be asked at each event of each stream.
    over: AtomicBool,
    times: Mutex<Times>,
}

#[derive(Clone, Copy, Debug)]
struct Times {
    /// When a look began that found it.
    confirmed: Instant,
    used: Instant,
}

/// See the module.
#[derive(Debug)]
pub struct Known {
    db: Db,
    /// Of the present admin token, with which sessions may have been opened.
    admin: Option<SecretHash>,
    shutdown: CancellationToken,
    credentials: Mutex<HashMap<Key, Arc<Credential>>>,
}

impl Credential {
    /// Whether it is not accepted any more.
    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
        self.ended.cancel();
    }

    fn times(&self) -> MutexGuard<'_, Times> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the use; whether it can be believed without asking.
    fn is_believed(&self) -> bool {
        let mut times = self.times();
        times.used = Instant::now();
        times.confirmed.elapsed() < BELIEVED && !self.is_over() && self.until.is_none_or(|until| until > Instant::now())
    }
}

impl Known {
    pub(super) fn new(db: Db, admin: Option<SecretHash>, shutdown: CancellationToken) -> Self {
        Self { db, admin, shutdown, credentials: Mutex::default() }
    }

    /// One that is in no table, and lasts as long as the process.
    pub(super) fn lasting(&self, hash: SecretHash, principal: Principal) -> Arc<Credential> {
        self.credential(Some(hash), principal, None, Instant::now())
    }

    /// Ends one at once; other processes find out by themselves.
    pub(super) fn forget(&self, key: &Key) {
        if let Some(gone) = self.credentials().remove(key) {
            gone.end();
        }
    }

    fn credential(
        &self,
        hash: Option<SecretHash>,
        principal: Principal,
        left: Option<Duration>,
        begun: Instant,
    ) -> Arc<Credential> {
        let times = Mutex::new(Times { confirmed: begun, used: begun });
        let (principal, ended) = (Arc::new(principal), self.shutdown.child_token());
        let until = left.and_then(|left| Instant::now().checked_add(left));
        Arc::new(Credential { hash, principal, until, ended, over: AtomicBool::new(false), times })
    }

    /// Those of the keys that are accepted, and whose they are; of a subject that is its caller's to say.
    async fn find(&self, keys: &[Key]) -> Result<Vec<(Key, Option<Accepted>)>, DbError> {
        let (mut tokens, mut sessions, mut subjects) = (Vec::new(), Vec::new(), Vec::new());
        for key in keys {
            match key {
                Key::Token(hash) => tokens.push(*hash),
                Key::Session(hash) => sessions.push(*hash),
                Key::Subject(name) => subjects.push(name.clone()),
            }
        }
        let mut found = Vec::new();
        if !tokens.is_empty() {
            let rows = self.db.token_principals(&tokens).await?;
            found.extend(rows.into_iter().map(|row| (Key::Token(row.hash), Some(row))));
        }
        if !sessions.is_empty() {
            let rows = self.db.session_principals(&sessions, self.admin.as_ref()).await?;
            found.extend(rows.into_iter().map(|row| (Key::Session(row.hash), Some(row))));
        }
        if !subjects.is_empty() {
            let revoked: HashSet<String> = self.db.revoked_among(&subjects).await?.into_iter().collect();
            let accepted = subjects.into_iter().filter(|name| !revoked.contains(name));
            found.extend(accepted.map(|name| (Key::Subject(name), None)));
        }
        Ok(found)
    }

    /// The token or session, if it is accepted.
    pub(super) async fn get(&self, key: Key) -> Result<Option<Arc<Credential>>, DbError> {
        self.get_as(key, Principal::nobody).await
    }

    /// The subject of a token that was verified, unless it is revoked.
    pub(super) async fn subject(&self, principal: &Principal) -> Result<Option<Arc<Credential>>, DbError> {
        self.get_as(Key::Subject(principal.subject.clone()), || principal.clone()).await
    }

    async fn get_as(
        &self,
        key: Key,
        principal: impl FnOnce() -> Principal + Send,
    ) -> Result<Option<Arc<Credential>>, DbError> {
        let known = self.credentials().get(&key).cloned();
        if let Some(known) = known.filter(|known| known.is_believed()) {
            return Ok(Some(known));
        }
        let begun = Instant::now();
        let found = self.find(std::slice::from_ref(&key)).await?.pop();
        let mut credentials = self.credentials();
        let Some((_, accepted)) = found else {
            if let Some(gone) = credentials.remove(&key) {
                gone.end();
            }
            return Ok(None);
        };
        // The same one for all, or a stream would hang on one that nobody looks after.
        let credential = credentials.entry(key).or_insert_with(|| match accepted {
            Some(Accepted { hash, principal, left }) => self.credential(Some(hash), principal, left, begun),
            None => self.credential(None, principal(), None, begun),
        });
        credential.times().confirmed = begun;
        Ok(Some(Arc::clone(credential)))
    }

    /// Looks at all that are in use, again and again.
    pub(super) async fn look_after(&self) {
        let mut ticks = tokio::time::interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut away = false;
        loop {
            ticks.tick().await;
            match self.look().await {
                Ok(()) => away = false,
                // Once: requests say it as well, and nobody can revoke anything meanwhile.
                Err(error) if !away => {
                    tracing::warn!(%error, "the tokens in use cannot be looked at now");
                    away = true;
                }
                Err(_) => {}
            }
        }
    }

    async fn look(&self) -> Result<(), DbError> {
        let keys: Vec<Key> = {
            let mut credentials = self.credentials();
            credentials.retain(|_, known| Arc::strong_count(known) > 1 || known.times().used.elapsed() < FORGOTTEN);
            credentials.keys().cloned().collect()
        };
        if keys.is_empty() {
            return Ok(());
        }
        let begun = Instant::now();
        let found: HashMap<_, _> = self.find(&keys).await?.into_iter().collect();
        let mut credentials = self.credentials();
        for key in keys {
            if found.contains_key(&key) {
                if let Some(known) = credentials.get(&key) {
                    known.times().confirmed = begun;
                }
            } else if let Some(gone) = credentials.remove(&key) {
                let kind = key.kind();
                tracing::info!(subject = gone.principal.subject, kind, "sign-in ended, and its streams with it");
                gone.end();
            }
        }
        Ok(())
    }

    fn credentials(&self) -> MutexGuard<'_, HashMap<Key, Arc<Credential>>> {
        // The map is consistent whenever the lock is free: a panic while it was held does no harm.
        self.credentials.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
