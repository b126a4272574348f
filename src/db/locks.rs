//! Leases for external work that must not run twice concurrently: rows, renewed while the work runs, by the database's clock. They work through a
//! connection pooler, and expire when the process dies.

use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use super::{Db, DbError};

/// A held lease; dropping it releases it.
#[derive(Debug)]
pub struct LockGuard {
    lost: CancellationToken,
    token: i64,
    _held: DropGuard,
}

impl LockGuard {
    /// Resolves when the lease is lost: the work has to stop before another process begins it.
    pub async fn lost(&self) {
        self.lost.cancelled().await;
    }

    /// Fencing token: increases by one each time any process takes this lease.
    pub fn token(&self) -> i64 {
        self.token
    }
}

impl Db {
    /// Takes the lease `name` for `length` and renews it until the guard is dropped. Returns none when another process or deployment holds it.
    pub async fn try_lock(&self, name: &'static str, length: Duration) -> Result<Option<LockGuard>, DbError> {
        let (holder, asked) = (Uuid::new_v4(), Instant::now());
        let taken = sqlx::query!(
            "INSERT INTO leases AS l (name, holder, expires_at)
             VALUES ($1, $2, clock_timestamp() + $3 * interval '1 millisecond')
             ON CONFLICT (name) DO UPDATE
             SET holder = EXCLUDED.holder, token = l.token + 1, taken_at = clock_timestamp(),
                 expires_at = clock_timestamp() + $3 * interval '1 millisecond'
             WHERE l.expires_at <= clock_timestamp()
             RETURNING token",
            name,
            holder,
            millis(length)
        )
        .fetch_optional(&self.pool)
        .await?;
        let Some(taken) = taken else { return Ok(None) };
        let (lost, held) = (CancellationToken::new(), CancellationToken::new());
        let renewal = LeaseRenewal { db: self.clone(), name, holder, length, lost: lost.clone() };
        tokio::spawn(renewal.run(asked, held.clone()));
        Ok(Some(LockGuard { lost, token: taken.token, _held: held.drop_guard() }))
    }

    /// Renews the lease; false when it was lost.
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

/// The task that renews a held lease.
struct LeaseRenewal {
    db: Db,
    name: &'static str,
    holder: Uuid,
    length: Duration,
    lost: CancellationToken,
}

impl LeaseRenewal {
    /// Renews the lease until `held` is cancelled, and then releases it. Another process may take it after `length`; this one stops a tenth earlier.
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
                    Ok(Err(error)) => tracing::debug!(%error, lease = self.name, "lease not renewed, retrying"),
                }
            }
        };
        tokio::select! {
            () = held.cancelled() => {}
            () = ended => {
                tracing::warn!(lease = self.name, "lease lost, stopping its work");
                self.lost.cancel();
                held.cancelled().await;
            }
        }
        if let Err(error) = self.db.release_lease(self.name, self.holder).await {
            tracing::warn!(%error, lease = self.name, "lease not released, it will expire");
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a length is minutes at most")]
fn millis(length: Duration) -> f64 {
    length.as_millis() as f64
}
