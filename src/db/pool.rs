//! The connection pool of one class of work, for statements that end: with an answer, or without one after a time limit.
//!
//! A network can drop a connection silently: a caller that waits for an answer on it would wait for ever, and a connection that is returned to the
//! pool in that state would occupy its slot for ever. So statements have a time limit on the client as well, and a connection whose answer was not
//! awaited is closed. Postgres notices that (`client_connection_check_interval`) and ends the statement, so that an abandoned query costs nothing
//! more.
//!
//! Callers of a class wait in order of arrival, and no longer than [`Class::patience`].

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt, TryFutureExt, TryStreamExt};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnection, PgPool, PgQueryResult, PgRow, PgStatement, PgTypeInfo};
use sqlx::{Describe, Either, Error, Execute, Executor, Postgres, SqlStr};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use super::DbError;
use super::caller_share::{self, CallerPermit};
use super::connect::PoolAdmission;
use crate::domain::connection_class::{Class, Usage};
use crate::domain::message::{Message, message};

/// Time limit of an answer: the most that Postgres allows, plus the network.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(17);

/// Time limit of the rollback of a dropped transaction. A longer one means that a statement is still running: its connection is closed.
const ROLLBACK_TIMEOUT: Duration = Duration::from_millis(100);

/// Time within which Postgres notices a closed connection and ends its statement: its `client_connection_check_interval`, and a little more.
const CLOSE_DELAY: Duration = Duration::from_millis(300);

/// All connections of a class, or all that one caller may use, were in use, and none became free in time.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("{}", self.message())]
pub enum Busy {
    /// Callers together use all connections of the class.
    Class {
        /// Class of work whose connections are in use.
        class: Class,
        /// Number of connections of the class.
        connections: u32,
    },
    /// The caller's other requests use all connections that one caller may use.
    Caller {
        /// Number of connections that one caller may use.
        limit: usize,
    },
}

impl From<Busy> for Error {
    fn from(busy: Busy) -> Self {
        std::io::Error::other(busy).into()
    }
}

/// Permission to use a connection of a class.
#[derive(Debug)]
struct Permit {
    _class: OwnedSemaphorePermit,
    /// Of the caller, for a request to the API.
    _caller: Option<CallerPermit>,
}

impl Busy {
    /// Returns the text for people.
    pub(super) fn message(&self) -> Message {
        match self {
            Self::Class { class, connections } => {
                message!("database.busy", class = class.as_str(), connections = *connections)
            }
            Self::Caller { limit } => message!("database.caller_busy", limit = *limit),
        }
    }
}

/// Counters of a class, shown as metrics.
#[derive(Debug, Default)]
struct Counters {
    waiting: AtomicUsize,
    rejected: AtomicU64,
    waited_micros: AtomicU64,
}

/// Pool of one class. Cheap to clone.
#[derive(Clone)]
pub(super) struct Pool {
    inner: PgPool,
    admission: PoolAdmission,
    class: Class,
    connections: u32,
    patience: Duration,
    permits: Arc<Semaphore>,
    counters: Arc<Counters>,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("class", &self.class)
            .field("connections", &self.connections)
            .finish_non_exhaustive()
    }
}

impl Pool {
    /// Wraps `inner`, which has at most `connections`, as the pool of `class`. Callers wait for at most `patience`.
    pub(super) fn new(
        inner: PgPool,
        admission: PoolAdmission,
        class: Class,
        connections: u32,
        patience: Duration,
    ) -> Self {
        let permits = Arc::new(Semaphore::new(connections as usize));
        Self { inner, admission, class, connections, patience, permits, counters: Arc::default() }
    }

    pub(super) fn inner(&self) -> &PgPool {
        &self.inner
    }

    pub(super) fn usage(&self) -> Usage {
        let used = (self.connections as usize).saturating_sub(self.permits.available_permits());
        Usage {
            class: self.class,
            used,
            idle: self.inner.num_idle(),
            waiting: self.counters.waiting.load(Ordering::Relaxed),
            rejected: self.counters.rejected.load(Ordering::Relaxed),
            waited: Duration::from_micros(self.counters.waited_micros.load(Ordering::Relaxed)),
        }
    }

    /// Returns a connection when one of the class is free.
    ///
    /// # Errors
    /// [`Busy`], as [`Error::Io`], when none became free in time; other errors when the database cannot be reached.
    pub(super) async fn acquire(&self) -> Result<Connection, Error> {
        let permit = self.permit().await?;
        Ok(Connection { inner: self.admission.acquire(&self.inner).await?, permit: Some(permit) })
    }

    pub(super) async fn begin(&self) -> Result<Transaction, Error> {
        let mut transaction = Transaction { connection: Some(self.acquire().await?), open: true };
        transaction.execute("BEGIN").await?;
        Ok(transaction)
    }

    /// The caller's share comes first: otherwise its requests would fill the queue of the class.
    async fn permit(&self) -> Result<Permit, Error> {
        let share = caller_share::current().filter(|_| self.class == Class::Api);
        let caller = match share {
            Some(share) => {
                let limit = share.limit();
                let permit = share.acquire_within(caller_share::MAX_STALL, self.patience).await;
                Some(permit.ok_or(Busy::Caller { limit })?)
            }
            None => None,
        };
        Ok(Permit { _class: self.class_permit().await?, _caller: caller })
    }

    async fn class_permit(&self) -> Result<OwnedSemaphorePermit, Error> {
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            return Ok(permit);
        }
        let waiting = Waiting::begin(&self.counters);
        match timeout(self.patience, Arc::clone(&self.permits).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            // The semaphore is never closed.
            Ok(Err(_)) => Err(Error::PoolClosed),
            Err(_) => {
                drop(waiting);
                self.counters.rejected.fetch_add(1, Ordering::Relaxed);
                Err(Busy::Class { class: self.class, connections: self.connections }.into())
            }
        }
    }
}

/// A waiting caller; counted until this is dropped.
struct Waiting<'a> {
    counters: &'a Counters,
    since: Instant,
}

impl<'a> Waiting<'a> {
    fn begin(counters: &'a Counters) -> Self {
        counters.waiting.fetch_add(1, Ordering::Relaxed);
        Self { counters, since: Instant::now() }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.counters.waiting.fetch_sub(1, Ordering::Relaxed);
        let micros = u64::try_from(self.since.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.counters.waited_micros.fetch_add(micros, Ordering::Relaxed);
    }
}

/// A connection of a class; dropping it returns its permit to the class.
#[derive(Debug)]
pub(super) struct Connection {
    // Dropped before the permit, so that the next caller finds the connection in the pool.
    inner: PoolConnection<Postgres>,
    permit: Option<Permit>,
}

impl Connection {
    /// Closes the connection, though a statement may be running on it. Its permit is returned once Postgres has noticed.
    fn abandon(&mut self) {
        self.inner.close_on_drop();
        let permit = self.permit.take();
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                tokio::time::sleep(CLOSE_DELAY).await;
                drop(permit);
            });
        }
    }
}

impl AsMut<PgConnection> for Connection {
    fn as_mut(&mut self) -> &mut PgConnection {
        self
    }
}

impl Deref for Connection {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.inner
    }
}

impl DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.inner
    }
}

/// A transaction. Dropping it rolls it back, or closes its connection when a statement is still running.
#[derive(Debug)]
pub struct Transaction {
    /// None only while the transaction is being dropped.
    connection: Option<Connection>,
    open: bool,
}

impl Transaction {
    /// Makes the changes of the transaction visible to others.
    ///
    /// # Errors
    /// The connection broke or the database refused; a commit whose answer was lost may have had its effect.
    pub async fn commit(self) -> Result<(), DbError> {
        Ok(self.end("COMMIT").await?)
    }

    pub(super) async fn rollback(self) -> Result<(), Error> {
        self.end("ROLLBACK").await
    }

    async fn end(mut self, how: &'static str) -> Result<(), Error> {
        self.execute(how).await?;
        self.open = false;
        Ok(())
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take().filter(|_| self.open) else { return };
        let Ok(runtime) = Handle::try_current() else { return };
        runtime.spawn(async move {
            match timeout(ROLLBACK_TIMEOUT, connection.execute("ROLLBACK")).await {
                Ok(Ok(_)) => {}
                Ok(Err(_)) | Err(_) => connection.abandon(),
            }
        });
    }
}

const UNTIL_DROPPED: &str = "only `drop` takes the connection";

#[expect(clippy::expect_used, reason = "only `drop` takes the connection, and nothing can follow it")]
impl Deref for Transaction {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        self.connection.as_ref().expect(UNTIL_DROPPED)
    }
}

#[expect(clippy::expect_used, reason = "only `drop` takes the connection, and nothing can follow it")]
impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.connection.as_mut().expect(UNTIL_DROPPED)
    }
}

/// A connection with a statement in flight. Dropping this before the answer arrived closes the connection.
struct Pending {
    connection: Connection,
    answered: bool,
}

impl Pending {
    async fn on(pool: &Pool) -> Result<Self, Error> {
        Ok(Self { connection: pool.acquire().await?, answered: false })
    }

    fn end<T>(mut self, answer: Result<Result<T, Error>, Elapsed>) -> Result<T, Error> {
        self.answered = answer.is_ok();
        answer.unwrap_or_else(|_| Err(Error::Io(std::io::ErrorKind::TimedOut.into())))
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.answered {
            self.connection.abandon();
        }
    }
}

impl<'p> Executor<'p> for &'_ Pool {
    type Database = Postgres;

    /// Reads the whole answer before yielding rows: no caller streams unbounded results.
    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>, Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let pool = self.clone();
        let all = async move {
            let mut pending = Pending::on(&pool).await?;
            let answer = timeout(ANSWER_TIMEOUT, pending.connection.fetch_many(query).try_collect::<Vec<_>>()).await;
            pending.end(answer)
        };
        all.map_ok(|items| stream::iter(items.into_iter().map(Ok))).try_flatten_stream().boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let pool = self.clone();
        async move {
            let mut pending = Pending::on(&pool).await?;
            let answer = timeout(ANSWER_TIMEOUT, pending.connection.fetch_optional(query)).await;
            pending.end(answer)
        }
        .boxed()
    }

    fn prepare_with<'e>(self, sql: SqlStr, types: &'e [PgTypeInfo]) -> BoxFuture<'e, Result<PgStatement, Error>>
    where
        'p: 'e,
    {
        let pool = self.clone();
        async move {
            let mut pending = Pending::on(&pool).await?;
            let answer = timeout(ANSWER_TIMEOUT, pending.connection.prepare_with(sql, types)).await;
            pending.end(answer)
        }
        .boxed()
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Postgres>, Error>>
    where
        'p: 'e,
    {
        let pool = self.clone();
        async move { pool.acquire().await?.describe(sql).await }.boxed()
    }
}
