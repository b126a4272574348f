//! Moves finished deployments to the archive in small batches.

use super::{Batch, ClaimedRun, EventRemoval, renew};
use crate::db::{Db, DbError};

/// Maximum deployments of a batch.
const MAX_DEPLOYMENTS: i64 = 100;

impl Db {
    /// Moves the next finished deployments to the archive and counts them for `run`. Removes their events first, in separate batches: a deployment
    /// may have tens of thousands, and moving it is one transaction. The newest `keep_releases` COMPLETED ones of each target stay: a rollback needs them.
    pub async fn archive_ended(
        &self,
        run: &ClaimedRun,
        keep_releases: u32,
        removal: &EventRemoval,
    ) -> Result<Batch, DbError> {
        let Some(older_than) = run.older_than else { return Ok(Batch::Last(0)) };
        let mut tx = self.pool.begin().await?;
        if !renew(&mut tx, run.id, 0).await? {
            return Ok(Batch::Lost);
        }
        let ids = sqlx::query_scalar!(
            "SELECT id FROM deployments d WHERE completed_at < $1 AND NOT watched
               AND NOT (status = 'COMPLETED' AND $2 > (
                   SELECT count(*) FROM (
                       SELECT FROM deployments n
                       WHERE n.status = 'COMPLETED' AND (n.account_id, n.region, n.ecr_repository) = (d.account_id, d.region, d.ecr_repository)
                         AND (n.completed_at, n.id) > (d.completed_at, d.id) LIMIT $2) AS newer))
             ORDER BY completed_at, id LIMIT $3",
            older_than,
            i64::from(keep_releases),
            MAX_DEPLOYMENTS
        )
        .fetch_all(&mut *tx)
        .await?;
        if ids.is_empty() {
            tx.commit().await?;
            return Ok(Batch::Last(0));
        }
        let held = super::events::lock(&mut tx, &ids, older_than).await?;
        let gone = super::events::delete(&mut tx, &held, removal).await?;
        // Includes the events that are deleted with the deployments.
        let place = sqlx::query_scalar!(
            "SELECT coalesce(max(place), 0) AS \"place!\" FROM deployment_events WHERE deployment_id = ANY ($1)",
            &held.ids
        )
        .fetch_one(&mut *tx)
        .await?;
        sqlx::query!(
            "INSERT INTO maintenance_progress AS p (kind, removed_place) VALUES ($1, $2)
             ON CONFLICT (kind) DO UPDATE SET removed_place = greatest(p.removed_place, excluded.removed_place)",
            run.kind.as_str(),
            place.max(gone.place)
        )
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        if gone.rows >= removal.batch {
            return Ok(Batch::Some(0));
        }
        let moved = self.archive_deployments(&held.ids).await?;
        crate::failpoints::reached("maintenance archived/after");
        let count = i64::try_from(moved.len()).unwrap_or(i64::MAX);
        if !self.renew_maintenance(run.id, count).await? {
            return Ok(Batch::Lost);
        }
        // Deployments were locked but none moved: they were retried in that moment, and will finish later.
        Ok(Batch::Some(count))
    }

    /// Counts the deployments that would be moved.
    pub async fn count_ended(&self, run: &ClaimedRun, keep_releases: u32) -> Result<i64, DbError> {
        Ok(sqlx::query_scalar!(
            "SELECT count(*) AS \"count!\" FROM deployments d WHERE completed_at < $1 AND NOT watched
               AND NOT (status = 'COMPLETED' AND $2 > (
                   SELECT count(*) FROM (
                       SELECT FROM deployments n
                       WHERE n.status = 'COMPLETED' AND (n.account_id, n.region, n.ecr_repository) = (d.account_id, d.region, d.ecr_repository)
                         AND (n.completed_at, n.id) > (d.completed_at, d.id) LIMIT $2) AS newer))",
            run.older_than,
            i64::from(keep_releases)
        )
        .fetch_one(&self.pool)
        .await?)
    }
}
