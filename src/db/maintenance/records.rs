//! Removes the oldest records: maintenance runs, runs of schedules, and refusals in the audit log.

use super::{Batch, ClaimedRun, renew};
use crate::db::{Db, DbError};

impl Db {
    /// Removes the next batch of records and counts it for `run`.
    pub async fn remove_maintenance_runs(&self, run: &ClaimedRun, batch: i64) -> Result<Batch, DbError> {
        let Some(older_than) = run.older_than else { return Ok(Batch::Last(0)) };
        let mut tx = self.pool.begin().await?;
        let gone = sqlx::query!(
            "DELETE FROM maintenance_runs WHERE id IN (SELECT id FROM maintenance_runs WHERE ended_at < $1 ORDER BY id LIMIT $2)",
            older_than,
            batch
        )
        .execute(&mut *tx)
        .await?
        .rows_affected();
        // The last run of a schedule shows its state, and a run that started a deployment links it to the schedule as long as the deployment exists.
        let times = sqlx::query!(
            "DELETE FROM schedule_runs WHERE (schedule_id, due_at) IN (
                 SELECT r.schedule_id, r.due_at FROM schedule_runs r
                 WHERE r.at < $1 AND NOT EXISTS (SELECT FROM deployments d WHERE d.id = r.deployment_id)
                   AND EXISTS (SELECT FROM schedule_runs newer WHERE newer.schedule_id = r.schedule_id AND newer.due_at > r.due_at)
                 LIMIT $2)",
            older_than,
            batch
        )
        .execute(&mut *tx)
        .await?
        .rows_affected();
        let refusals = sqlx::query_scalar!("SELECT forget_refusals($1, $2) AS \"gone!\"", older_than, batch);
        let refusals = refusals.fetch_one(&mut *tx).await?;
        let gone = i64::try_from(gone + times).unwrap_or(i64::MAX).saturating_add(refusals);
        if !renew(&mut tx, run.id, gone).await? {
            return Ok(Batch::Lost);
        }
        tx.commit().await?;
        Ok(if gone < batch { Batch::Last(gone) } else { Batch::Some(gone) })
    }

    /// Counts the records that would be removed.
    pub async fn count_maintenance_runs(&self, run: &ClaimedRun) -> Result<i64, DbError> {
        Ok(sqlx::query_scalar!(
            "SELECT (SELECT count(*) FROM maintenance_runs WHERE ended_at < $1)
                  + (SELECT count(*) FROM schedule_runs r
                     WHERE r.at < $1 AND NOT EXISTS (SELECT FROM deployments d WHERE d.id = r.deployment_id)
                       AND EXISTS (SELECT FROM schedule_runs newer WHERE newer.schedule_id = r.schedule_id AND newer.due_at > r.due_at))
                  + (SELECT count(*) FROM audit WHERE result <> 'done' AND at < least($1, clock_timestamp() - interval '30 days'))
                 AS \"count!\"",
            run.older_than
        )
        .fetch_one(&self.pool)
        .await?)
    }
}
