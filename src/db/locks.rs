//! Advisory locks for outside work that must not run twice at once anywhere: held by a connection, so that they end with the process.

use sqlx::Either;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgAdvisoryLock, PgAdvisoryLockGuard, Postgres};

use super::{Db, DbError};

/// A held lock; dropping it gives the lock back.
pub type LockGuard = PgAdvisoryLockGuard<PoolConnection<Postgres>>;

impl Db {
    /// Takes the lock `name`, or returns none when another replica or deployment holds it.
    pub async fn try_lock(&self, name: &str) -> Result<Option<LockGuard>, DbError> {
        let connection = self.pool.acquire().await?;
        match PgAdvisoryLock::new(name).try_acquire(connection).await? {
            Either::Left(guard) => Ok(Some(guard)),
            Either::Right(_) => Ok(None),
        }
    }
}
