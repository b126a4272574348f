//! The pool of one class of work, for statements that end: with an answer, or without one after a while.
//!
//! A network that swallows a connection does not say so: a caller that waits for an answer on it would wait for ever, and a connection
//! that is returned in the middle of that would keep its place in the pool for ever. So statements have a limit on our side as well,
//! and a connection whose answer was not awaited is closed. Postgres notices that (`client_connection_check_interval`) and ends the
//! statement: what a client that has left asked for costs nothing more.
//!
//! Callers of a class wait for each other in the order in which they came, and no longer than [`Class::patience`].

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

use super::connect::Link;
use crate::domain::connection_class::{Class, Usage};

/// How long an answer may take: what Postgres allows at most, and its way here.
const ANSWER: Duration = Duration::from_secs(17);

/// A transaction that is dropped is rolled back within this time, or a statement is under way in it and its connection is closed.
const ROLLBACK: Duration = Duration::from_millis(100);

/// How long Postgres may take to notice that a connection was closed, and to end its statement: its `client_connection_check_interval`,
/// and a little more.
const NOTICE: Duration = Duration::from_millis(300);

/// All connections of a class are in use, and none became free in time.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("all {connections} database connections for {class} are in use", class = class.as_str())]
pub struct Busy {
    /// The class.
    pub class: Class,
    /// How many connections it has.
    pub connections: u32,
}

/// What a class has used and waited for.
#[derive(Debug, Default)]
struct Counters {
    waiting: AtomicUsize,
    rejected: AtomicU64,
    waited_micros: AtomicU64,
}

/// See the module: cheap to clone.
#[derive(Clone)]
pub(super) struct Pool {
    inner: PgPool,
    link: Link,
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
    /// A pool of `class` on `inner`, which has `connections` at most. Callers wait for `patience` at most.
    pub(super) fn new(inner: PgPool, link: Link, class: Class, connections: u32, patience: Duration) -> Self {
        let permits = Arc::new(Semaphore::new(connections as usize));
        Self { inner, link, class, connections, patience, permits, counters: Arc::default() }
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

    /// A connection, when one of the class is free.
    ///
    /// # Errors
    /// [`Busy`], as [`Error::Io`]; or there is no connection to the database.
    pub(super) async fn acquire(&self) -> Result<Connection, Error> {
        let permit = self.permit().await?;
        Ok(Connection { inner: self.link.acquire(&self.inner).await?, permit: Some(permit) })
    }

    /// Begins a transaction.
    pub(super) async fn begin(&self) -> Result<Transaction, Error> {
        let mut transaction = Transaction { connection: Some(self.acquire().await?), open: true };
        transaction.execute("BEGIN").await?;
        Ok(transaction)
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit, Error> {
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
                Err(std::io::Error::other(Busy { class: self.class, connections: self.connections }).into())
            }
        }
    }
}

/// A caller that waits; counted until this is dropped.
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

/// A connection of a class; the class has it back when this is dropped.
#[derive(Debug)]
pub(super) struct Connection {
    // Dropped before the permit: the next caller finds it in the pool.
    inner: PoolConnection<Postgres>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Connection {
    /// Has the connection closed, though a statement may be under way. Its place is free once Postgres has noticed.
    fn abandon(&mut self) {
        self.inner.close_on_drop();
        let permit = self.permit.take();
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                tokio::time::sleep(NOTICE).await;
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

/// A transaction: rolled back when it is dropped, and its connection closed when a statement is under way then.
pub(super) struct Transaction {
    /// None only while it is dropped.
    connection: Option<Connection>,
    open: bool,
}

impl Transaction {
    pub(super) async fn commit(self) -> Result<(), Error> {
        self.end("COMMIT").await
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
            match timeout(ROLLBACK, connection.execute("ROLLBACK")).await {
                Ok(Ok(_)) => {}
                Ok(Err(_)) | Err(_) => connection.abandon(),
            }
        });
    }
}

/// Why a transaction has its connection.
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

/// A connection with a statement under way. Unless the answer came, it is closed when this is dropped.
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

    /// The answer is read to its end first: no caller reads rows without end.
    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>, Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let pool = self.clone();
        let all = async move {
            let mut pending = Pending::on(&pool).await?;
            let answer = timeout(ANSWER, pending.connection.fetch_many(query).try_collect::<Vec<_>>()).await;
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
            let answer = timeout(ANSWER, pending.connection.fetch_optional(query)).await;
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
            let answer = timeout(ANSWER, pending.connection.prepare_with(sql, types)).await;
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
