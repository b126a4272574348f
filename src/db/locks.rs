//! Leases for outside work that must not run twice at once anywhere: rows, renewed while the work runs, by the database's clock. They hold through
//! a connection pooler, and end with the process.

use std::time::Duration;

use sqlx::postgres::{PgAdvisoryLock, PgAdvisoryLockKey, PgConnection};
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use super::connect::Session;
use super::{Db, DbError};

/// Programs that know an older migration take an advisory lock of their session instead.
const SINCE: i64 = 24;

/// How long connecting for that lock may take.
const LIMIT: Duration = Duration::from_secs(3);

/// A held lease; dropping it releases it.
#[derive(Debug)]
pub struct LockGuard {
    lost: CancellationToken,
    token: i64,
    _held: DropGuard,
}

impl LockGuard {
    /// Ends when the lease is lost: the work has to stop before another process begins it.
    pub async fn lost(&self) {
        self.lost.cancelled().await;
    }

    /// One more with each taking of this lease by any process.
    pub fn token(&self) -> i64 {
        self.token
    }
}

impl Db {
    /// Takes the lease `name` for `length`, to be renewed meanwhile, or returns none when another process or deployment holds it.
    pub async fn try_lock(&self, name: &'static str, length: Duration) -> Result<Option<LockGuard>, DbError> {
        let (holder, asked) = (Uuid::new_v4(), Instant::now());
        let taken = sqlx::query!(
            "INSERT INTO leases AS l (name, holder, expires_at)
             VALUES ($1, $2, clock_timestamp() + $3 * interval '1 millisecond')
             ON CONFLICT (name) DO UPDATE
             SET holder = EXCLUDED.holder, token = l.token + 1, taken_at = clock_timestamp(),
                 expires_at = clock_timestamp() + $3 * interval '1 millisecond'
             WHERE l.expires_at <= clock_timestamp()
             RETURNING token, EXISTS (
                 SELECT FROM replicas r
                 WHERE r.heartbeat_at + r.lease_ms * interval '1 millisecond' > clock_timestamp()
                   AND coalesce(r.schema_version, 14) < $4
             ) AS \"older!\"",
            name,
            holder,
            millis(length),
            SINCE
        )
        .fetch_optional(&self.pool)
        .await?;
        let Some(taken) = taken else { return Ok(None) };
        let older = match taken.older.then_some(name) {
            None => None,
            Some(name) => match self.lock_older(name).await {
                Ok(Some(lock)) => lock,
                not => {
                    self.release_lease(name, holder).await?;
                    return not.map(|_| None);
                }
            },
        };
        let (lost, held) = (CancellationToken::new(), CancellationToken::new());
        let renewing = Renewing { db: self.clone(), name, holder, length, lost: lost.clone(), _older: older };
        tokio::spawn(renewing.run(asked, held.clone()));
        Ok(Some(LockGuard { lost, token: taken.token, _held: held.drop_guard() }))
    }

    /// The lock that older programs take, for as long as the connection lives. The outer none: one of them has it. Through a pooler that shares
    /// sessions none of them runs.
    async fn lock_older(&self, name: &str) -> Result<Option<Option<PgConnection>>, DbError> {
        if !self.connector.keeps_directly().await? {
            return Ok(Some(None));
        }
        let session = Session { statement: "15s", lock: "0", idle_in_transaction: "15s" };
        let mut connection = self.connector.connect_directly(session, LIMIT).await?;
        let lock = PgAdvisoryLock::new(name);
        let PgAdvisoryLockKey::BigInt(key) = lock.key() else { return Ok(Some(None)) };
        let locked = sqlx::query_scalar!("SELECT pg_try_advisory_lock($1) AS \"locked!\"", key);
        Ok(locked.fetch_one(&mut connection).await?.then_some(Some(connection)))
    }

    /// Whether it was still held.
    async fn renew_lease(&self, name: &str, holder: Uuid, length: Duration) -> Result<bool, DbError> {
        let renewed = sqlx::query!(
            "UPDATE leases SET expires_at = clock_timestamp() + $3 * interval '1 millisecond'
             WHERE name = $1 AND holder = $2 AND expires_at > clock_timestamp()",
            name,
            holder,
            millis(length)
        )
        .execute(&self.pool)
        .await?;
        Ok(renewed.rows_affected() == 1)
    }

    async fn release_lease(&self, name: &str, holder: Uuid) -> Result<(), DbError> {
        sqlx::query!(
            "UPDATE leases SET holder = NULL, expires_at = clock_timestamp() WHERE name = $1 AND holder = $2",
            name,
            holder
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}

/// A lease that is held.
struct Renewing {
    db: Db,
    name: &'static str,
    holder: Uuid,
    length: Duration,
    lost: CancellationToken,
    _older: Option<PgConnection>,
}

impl Renewing {
    /// Renews it until `held` is cancelled, and releases it then. Another process may take it after `length`; this one stops a tenth before.
    async fn run(self, mut renewed: Instant, held: CancellationToken) {
        let ended = async {
            loop {
                let ends = renewed + self.length.mul_f64(0.9);
                sleep_until((Instant::now() + self.length / 4).min(ends)).await;
                let asked = Instant::now();
                if asked >= ends {
                    return;
                }
                match timeout_at(ends, self.db.renew_lease(self.name, self.holder, self.length)).await {
                    Ok(Ok(true)) => renewed = asked,
                    Ok(Ok(false)) | Err(_) => return,
                    Ok(Err(error)) => tracing::debug!(%error, lease = self.name, "the lease could not be renewed yet"),
                }
            }
        };
        tokio::select! {
            () = held.cancelled() => {}
            () = ended => {
                tracing::warn!(lease = self.name, "the lease is lost, its work stops");
                self.lost.cancel();
                held.cancelled().await;
            }
        }
        if let Err(error) = self.db.release_lease(self.name, self.holder).await {
            tracing::warn!(%error, lease = self.name, "the lease could not be released; it expires");
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a length is minutes at most")]
fn millis(length: Duration) -> f64 {
    length.as_millis() as f64
}
