//! Connections of a pool, whose address may change while it is used.

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::Error;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgPool, Postgres};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

use super::Connector;
use super::cause::{Cause, wrap};
use super::endpoint::Endpoint;

/// A caller that waits for longer has the servers looked at: the one in use may swallow packets.
const PATIENCE: Duration = Duration::from_millis(300);

/// A pool's tie to its address, used once it is known how sessions behave there.
#[derive(Clone, Debug)]
pub(in crate::db) struct Link {
    connector: Connector,
    tie: Tie,
}

impl Link {
    pub(super) fn new(connector: Connector, tie: Tie) -> Self {
        Self { connector, tie }
    }

    /// A connection of `pool`.
    pub(in crate::db) async fn acquire(&self, pool: &PgPool) -> Result<PoolConnection<Postgres>, Error> {
        self.connector.admitted(pool.options().get_acquire_timeout()).await?;
        self.tie.acquire(pool).await
    }
}

/// A pool's tie to its address.
#[derive(Clone, Debug)]
pub(super) struct Tie {
    endpoint: Arc<Endpoint>,
    /// The version of the address that the pool connects with.
    applied: Arc<Mutex<u64>>,
}

enum Ended {
    Connected(PoolConnection<Postgres>),
    /// There is something else to try.
    Changed,
    Failed(Error),
}

impl Tie {
    pub(super) fn new(endpoint: Arc<Endpoint>, applied: u64) -> Self {
        Self { endpoint, applied: Arc::new(Mutex::new(applied)) }
    }

    /// A connection of `pool`; by the newest address, and when that changes while it is waited for, by the new one.
    pub(super) async fn acquire(&self, pool: &PgPool) -> Result<PoolConnection<Postgres>, Error> {
        let deadline = Instant::now() + pool.options().get_acquire_timeout();
        loop {
            self.endpoint.freshen().await?;
            let seen = self.apply(pool);
            match self.try_once(pool, seen, deadline).await {
                Ended::Connected(connection) => return Ok(connection),
                Ended::Changed if Instant::now() < deadline => {}
                Ended::Changed => return Err(self.explained(Error::PoolTimedOut)),
                Ended::Failed(error) => return Err(self.explained(error)),
            }
        }
    }

    /// Has the pool connect by the newest version of the address.
    fn apply(&self, pool: &PgPool) -> u64 {
        let mut applied = self.applied.lock().unwrap_or_else(PoisonError::into_inner);
        let (newest, options) = self.endpoint.options();
        if *applied < newest {
            pool.set_connect_options(options);
            *applied = newest;
        }
        newest
    }

    async fn try_once(&self, pool: &PgPool, seen: u64, deadline: Instant) -> Ended {
        let mut generations = self.endpoint.generations();
        let mut acquiring = pin!(pool.acquire());
        let mut patience = pin!(sleep(PATIENCE));
        let mut look = true;
        loop {
            tokio::select! {
                biased;
                acquired = &mut acquiring => return match acquired {
                    Ok(connection) => Ended::Connected(connection),
                    Err(Error::PoolClosed) => Ended::Failed(Error::PoolClosed),
                    // What was found in the meantime says why.
                    Err(Error::PoolTimedOut) => Ended::Failed(Error::PoolTimedOut),
                    Err(error) => match timeout_at(deadline, self.endpoint.look(seen)).await {
                        Ok(true) => Ended::Changed,
                        _ => Ended::Failed(error),
                    },
                },
                () = changed(&mut generations, seen) => return Ended::Changed,
                () = &mut patience, if look => {
                    look = false;
                    let endpoint = Arc::clone(&self.endpoint);
                    tokio::spawn(async move { endpoint.look(seen).await });
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
