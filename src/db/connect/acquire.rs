//! Acquisition of pooled connections, while the address of the pool may change.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sqlx::Error;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgPool, Postgres};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

use super::Connector;
use super::cause::{Cause, wrap};
use super::endpoint::Endpoint;

/// A caller that waits longer starts a discovery of servers: the present one may be dropping packets.
const DISCOVERY_AFTER: Duration = Duration::from_millis(300);

/// Admits callers to a pool once the session self-test has passed.
#[derive(Clone, Debug)]
pub(in crate::db) struct PoolAdmission {
    connector: Connector,
    tracker: AddressTracker,
}

impl PoolAdmission {
    pub(super) fn new(connector: Connector, tracker: AddressTracker) -> Self {
        Self { connector, tracker }
    }

    /// Acquires a connection of `pool`.
    pub(in crate::db) async fn acquire(&self, pool: &PgPool) -> Result<PoolConnection<Postgres>, Error> {
        self.connector.admitted(pool.options().get_acquire_timeout()).await?;
        self.tracker.acquire(pool).await
    }
}

/// Keeps a pool at the newest version of its address.
#[derive(Clone, Debug)]
pub(super) struct AddressTracker {
    endpoint: Arc<Endpoint>,
    /// Version of the address that the pool connects with.
    applied: Arc<Mutex<u64>>,
}

enum Attempt {
    Connected(PoolConnection<Postgres>),
    /// The address changed: the caller tries again.
    Changed,
    Failed(Error),
}

impl AddressTracker {
    pub(super) fn new(endpoint: Arc<Endpoint>, applied: u64) -> Self {
        Self { endpoint, applied: Arc::new(Mutex::new(applied)) }
    }

    /// Acquires a connection of `pool` by the newest address, and switches to a newer address that appears meanwhile.
    pub(super) async fn acquire(&self, pool: &PgPool) -> Result<PoolConnection<Postgres>, Error> {
        let deadline = Instant::now() + pool.options().get_acquire_timeout();
        loop {
            self.endpoint.refresh().await?;
            let seen = self.apply(pool);
            match self.try_once(pool, seen, deadline).await {
                Attempt::Connected(connection) => return Ok(connection),
                Attempt::Changed if Instant::now() < deadline => {}
                Attempt::Changed => return Err(self.explained(Error::PoolTimedOut)),
                Attempt::Failed(error) => return Err(self.explained(error)),
            }
        }
    }

    /// Makes the pool connect by the newest version of the address.
    fn apply(&self, pool: &PgPool) -> u64 {
        let mut applied = self.applied.lock();
        let (newest, options) = self.endpoint.options();
        if *applied < newest {
            pool.set_connect_options(options);
            *applied = newest;
        }
        newest
    }

    async fn try_once(&self, pool: &PgPool, seen: u64, deadline: Instant) -> Attempt {
        let mut generations = self.endpoint.generations();
        let mut acquiring = pin!(pool.acquire());
        let mut patience = pin!(sleep(DISCOVERY_AFTER));
        let mut may_discover = true;
        loop {
            tokio::select! {
                biased;
                acquired = &mut acquiring => return match acquired {
                    Ok(connection) => Attempt::Connected(connection),
                    Err(Error::PoolClosed) => Attempt::Failed(Error::PoolClosed),
                    // Discovery in the background has stored the cause.
                    Err(Error::PoolTimedOut) => Attempt::Failed(Error::PoolTimedOut),
                    Err(error) => match timeout_at(deadline, self.endpoint.discover(seen)).await {
                        Ok(true) => Attempt::Changed,
                        _ => Attempt::Failed(error),
                    },
                },
                () = changed(&mut generations, seen) => return Attempt::Changed,
                () = &mut patience, if may_discover => {
                    may_discover = false;
                    let endpoint = Arc::clone(&self.endpoint);
                    tokio::spawn(async move { endpoint.discover(seen).await });
                }
            }
        }
    }

    fn explained(&self, error: Error) -> Error {
        let cause = match &error {
            Error::PoolClosed => None,
            Error::PoolTimedOut => self.endpoint.cause(),
            error => Some(self.endpoint.cause().unwrap_or_else(|| Cause::of(error))),
        };
        cause.map_or(error, wrap)
    }
}

async fn changed(generations: &mut watch::Receiver<u64>, seen: u64) {
    if generations.wait_for(|newest| *newest != seen).await.is_err() {
        std::future::pending::<()>().await;
    }
}
