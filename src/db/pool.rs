//! The pool, for statements that end: with an answer, or without one after a while.
//!
//! A network that swallows a connection does not say so: whoever waits for an answer on it would wait for ever, and a connection that
//! is given back in the middle of that would keep its place in the pool for ever. So statements have a limit on our side as well,
//! and a connection whose answer was not waited for is closed.

use std::ops::Deref;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt, TryFutureExt, TryStreamExt};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnection, PgPool, PgQueryResult, PgRow, PgStatement, PgTypeInfo};
use sqlx::{Describe, Either, Error, Execute, Executor, Postgres, SqlStr};
use tokio::time::error::Elapsed;
use tokio::time::timeout;

/// After this time Postgres itself gives a statement up.
pub(super) const STATEMENT_LIMIT: &str = "15s";

/// How long an answer may take: what Postgres allows, and its way here.
const ANSWER: Duration = Duration::from_secs(17);

/// The pool; where a transaction is begun or a connection held, it is the plain one.
#[derive(Clone, Debug)]
pub(super) struct Pool(pub(super) PgPool);

impl Deref for Pool {
    type Target = PgPool;

    fn deref(&self) -> &PgPool {
        &self.0
    }
}

/// A connection that is asked something. Unless the answer came, it is closed when this is dropped.
struct Asked {
    connection: PoolConnection<Postgres>,
    answered: bool,
}

impl Asked {
    async fn on(pool: &PgPool) -> Result<Self, Error> {
        Ok(Self { connection: pool.acquire().await?, answered: false })
    }

    fn connection(&mut self) -> &mut PgConnection {
        &mut self.connection
    }

    fn end<T>(mut self, answer: Result<Result<T, Error>, Elapsed>) -> Result<T, Error> {
        self.answered = answer.is_ok();
        answer.unwrap_or_else(|_| Err(Error::Io(std::io::ErrorKind::TimedOut.into())))
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if !self.answered {
            self.connection.close_on_drop();
        }
    }
}

impl<'p> Executor<'p> for &'_ Pool {
    type Database = Postgres;

    /// The answer is read to its end first: nobody here reads rows without end.
    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>, Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let pool = self.0.clone();
        let all = async move {
            let mut asked = Asked::on(&pool).await?;
            let answer = timeout(ANSWER, asked.connection().fetch_many(query).try_collect::<Vec<_>>()).await;
            asked.end(answer)
        };
        all.map_ok(|items| stream::iter(items.into_iter().map(Ok))).try_flatten_stream().boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let pool = self.0.clone();
        async move {
            let mut asked = Asked::on(&pool).await?;
            let answer = timeout(ANSWER, asked.connection().fetch_optional(query)).await;
            asked.end(answer)
        }
        .boxed()
    }

    fn prepare_with<'e>(self, sql: SqlStr, types: &'e [PgTypeInfo]) -> BoxFuture<'e, Result<PgStatement, Error>>
    where
        'p: 'e,
    {
        let pool = self.0.clone();
        async move {
            let mut asked = Asked::on(&pool).await?;
            let answer = timeout(ANSWER, asked.connection().prepare_with(sql, types)).await;
            asked.end(answer)
        }
        .boxed()
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Postgres>, Error>>
    where
        'p: 'e,
    {
        let pool = self.0.clone();
        async move { pool.acquire().await?.describe(sql).await }.boxed()
    }
}
