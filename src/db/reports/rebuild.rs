//! The rows of `report_attempts`, which reports read: written by a trigger when an attempt ends, and rebuilt here.

use crate::db::{Db, DbError};

/// Deployments of one transaction: their rows are locked for its duration, a few tens of milliseconds.
const BATCH: i64 = 200;

impl Db {
    /// Writes the rows of all ended attempts again, from the deployments, their attempts and runs, and the archive. Returns the number of deployments.
    ///
    /// Each batch is a transaction, and a batch that is repeated changes nothing: an interrupted rebuild is repaired by the next one. Replicas may run
    /// meanwhile; a report reads the rows of a batch either before or after it.
    pub async fn rebuild_reports(&self) -> Result<usize, DbError> {
        let (mut after, mut deployments) = (String::new(), 0);
        while let Some(ids) = self.ids_after(&after).await? {
            let mut tx = self.pool.begin().await?;
            // A commit that ends or marks one of them waits, and then writes its row itself.
            sqlx::query!("SELECT id FROM deployments WHERE id = ANY ($1) ORDER BY id FOR NO KEY UPDATE", &ids)
                .fetch_all(&mut *tx)
                .await?;
            sqlx::query!("SELECT id FROM archived_deployments WHERE id = ANY ($1) ORDER BY id FOR NO KEY UPDATE", &ids)
                .fetch_all(&mut *tx)
                .await?;
            sqlx::query!("SELECT report_record($1) IS NULL AS written", &ids).fetch_one(&mut *tx).await?;
            tx.commit().await?;
            deployments += ids.len();
            after = ids.into_iter().next_back().unwrap_or_default();
        }
        // Deployments are judged by their neighbours, whose rows are complete now.
        after.clear();
        while let Some(ids) = self.ids_after(&after).await? {
            sqlx::query!("SELECT report_judge($1) IS NULL AS judged", &ids).fetch_one(&self.pool).await?;
            after = ids.into_iter().next_back().unwrap_or_default();
        }
        sqlx::query!(
            "DELETE FROM report_attempts r WHERE NOT EXISTS (SELECT FROM deployments d WHERE d.id = r.deployment_id)
                AND NOT EXISTS (SELECT FROM archived_deployments d WHERE d.id = r.deployment_id)"
        )
        .execute(&self.pool)
        .await?;
        Ok(deployments)
    }

    /// The next ids, live and archived, in their order; none behind the last one.
    async fn ids_after(&self, after: &str) -> Result<Option<Vec<String>>, DbError> {
        let ids = sqlx::query_scalar!(
            "SELECT id AS \"id!\" FROM (
                 (SELECT id FROM deployments WHERE id > $1 ORDER BY id LIMIT $2)
                 UNION
                 (SELECT id FROM archived_deployments WHERE id > $1 ORDER BY id LIMIT $2)
             ) AS next ORDER BY id LIMIT $2",
            after,
            BATCH
        )
        .fetch_all(&self.pool)
        .await?;
        Ok((!ids.is_empty()).then_some(ids))
    }
}
