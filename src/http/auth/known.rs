//! Tokens that are in use, so that the database is not asked at each request whose they are.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::Utc;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::db::{Db, DbError};
use crate::domain::principal::Principal;
use crate::domain::token::SecretHash;

/// How often all that are in use are looked at, in one query.
const LOOK: Duration = Duration::from_secs(2);

/// How long a look is believed: after this the database is asked at the request. So no token is accepted longer than this after it was revoked.
const BELIEVED: Duration = Duration::from_secs(5);

/// A token that nobody used for this long, and no stream hangs on, is forgotten.
const FORGOTTEN: Duration = Duration::from_mins(1);

/// A token that was accepted.
#[derive(Debug)]
pub(super) struct Credential {
    pub principal: Arc<Principal>,
    /// Cancelled when it is not accepted any more, and at the end of the process.
    pub ended: CancellationToken,
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
    shutdown: CancellationToken,
    credentials: Mutex<HashMap<SecretHash, Arc<Credential>>>,
}

impl Credential {
    fn times(&self) -> MutexGuard<'_, Times> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the use; whether it can be believed without asking.
    fn is_believed(&self) -> bool {
        let mut times = self.times();
        times.used = Instant::now();
        times.confirmed.elapsed() < BELIEVED && !self.ended.is_cancelled() && !self.principal.has_expired(Utc::now())
    }
}

impl Known {
    pub(super) fn new(db: Db, shutdown: CancellationToken) -> Self {
        Self { db, shutdown, credentials: Mutex::default() }
    }

    /// The token with this hash, if it is accepted.
    pub(super) async fn get(&self, hash: SecretHash) -> Result<Option<Arc<Credential>>, DbError> {
        let known = self.credentials().get(&hash).cloned();
        if let Some(known) = known.filter(|known| known.is_believed()) {
            return Ok(Some(known));
        }
        let begun = Instant::now();
        let found = self.db.token_principals(&[hash]).await?.pop();
        let mut credentials = self.credentials();
        let Some((_, principal)) = found else {
            if let Some(gone) = credentials.remove(&hash) {
                gone.ended.cancel();
            }
            return Ok(None);
        };
        // The same one for all, or a stream would hang on one that nobody looks after.
        let credential = credentials.entry(hash).or_insert_with(|| {
            let times = Mutex::new(Times { confirmed: begun, used: begun });
            Arc::new(Credential { principal: Arc::new(principal), ended: self.shutdown.child_token(), times })
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
        let hashes: Vec<SecretHash> = {
            let mut credentials = self.credentials();
            credentials.retain(|_, known| Arc::strong_count(known) > 1 || known.times().used.elapsed() < FORGOTTEN);
            credentials.keys().copied().collect()
        };
        if hashes.is_empty() {
            return Ok(());
        }
        let begun = Instant::now();
        let found: HashMap<_, _> = self.db.token_principals(&hashes).await?.into_iter().collect();
        let mut credentials = self.credentials();
        for hash in hashes {
            if found.contains_key(&hash) {
                if let Some(known) = credentials.get(&hash) {
                    known.times().confirmed = begun;
                }
            } else if let Some(gone) = credentials.remove(&hash) {
                tracing::info!(subject = gone.principal.subject, "a token has ended: its streams end");
                gone.ended.cancel();
            }
        }
        Ok(())
    }

    fn credentials(&self) -> MutexGuard<'_, HashMap<SecretHash, Arc<Credential>>> {
        // The map is consistent whenever the lock is free: a panic while it was held does no harm.
        self.credentials.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
