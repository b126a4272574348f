//! Queue of each target. A unique index ensures that a target has one unfinished deployment; the others wait in order.

use sqlx::PgConnection;

use super::{Db, DbError};

impl Db {
    /// Starts the first queued deployment of each free target and returns the ids. Safe to call from any replica at any time: a deployment is
    /// dequeued once.
    pub async fn start_queued_deployments(&self) -> Result<Vec<String>, DbError> {
        let heads = sqlx::query!(
            "SELECT DISTINCT ON (q.account_id, q.region, q.ecr_repository) q.id, q.account_id, q.region, q.ecr_repository
             FROM deployments q
             WHERE q.queued AND q.status IN ('RUNNING', 'DEPLOYMENT_READY') AND q.cancel_requested_at IS NULL
               AND NOT EXISTS (SELECT FROM deployments h
                               WHERE (h.account_id, h.region, h.ecr_repository) = (q.account_id, q.region, q.ecr_repository)
                                 AND h.status IN ('RUNNING', 'DEPLOYMENT_READY') AND NOT h.queued)
             ORDER BY q.account_id, q.region, q.ecr_repository, (q.caused_by IS NULL), q.queued_at, q.id"
        )
        .fetch_all(&self.pool)
        .await?;
        let mut started = Vec::new();
        for head in heads {
            let mut tx = self.pool.begin().await?;
            lock_target(&mut tx, &head.account_id, &head.region, &head.ecr_repository).await?;
            // Checked again under the lock: another replica may have been faster, or the deployment may have been cancelled.
            let dequeued = sqlx::query!(
                "UPDATE deployments d
                 SET queued = false, turn_at = now(), attempt_started_at = now(), step_started_at = now(), version = version + 1
                 WHERE id = $1 AND queued AND status IN ('RUNNING', 'DEPLOYMENT_READY') AND cancel_requested_at IS NULL
                   AND NOT EXISTS (SELECT FROM deployments h
                                   WHERE (h.account_id, h.region, h.ecr_repository) = (d.account_id, d.region, d.ecr_repository)
                                     AND h.status IN ('RUNNING', 'DEPLOYMENT_READY') AND NOT h.queued)",
                head.id
            )
            .execute(&mut *tx)
            .await?;
            tx.commit().await?;
            if dequeued.rows_affected() == 1 {
                started.push(head.id);
            }
        }
        Ok(started)
    }
}

/// Locks the target until the caller's transaction ends: a transaction that decides which deployment holds it must see earlier decisions.
pub async fn lock_target(
    connection: &mut PgConnection,
    account_id: &str,
    region: &str,
    ecr_repository: &str,
) -> Result<(), DbError> {
    sqlx::query!(
        "SELECT pg_advisory_xact_lock(hashtextextended($1, 0)) AS \"locked: _\"",
        format!("target {account_id}/{region}/{ecr_repository}") as _
    )
    .execute(connection)
    .await?;
    Ok(())
}
