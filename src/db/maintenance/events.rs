//! Removes events of finished deployments in small batches.
//!
//! A batch is one transaction: it selects the next deployments in the order of their ends, locks them (a retry waits), deletes, and stores its
//! progress. The process may die anywhere: committed progress is stored, and the next batch resumes after it.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::{Batch, ClaimedRun, renew};
use crate::db::{Db, DbError};

/// Maximum deployments of a batch: those whose events are gone already are skipped quickly, but not all in one transaction.
const MAX_DEPLOYMENTS: i64 = 500;

/// Published events counted for each event that a batch may remove: of a deployment whose log lines are gone already, a third is left.
const PUBLISHED_PER_REMOVED: i64 = 4;

/// Selection of events, and size of a batch.
#[derive(Clone, Debug)]
pub struct EventRemoval {
    /// Only events with these codes; none for all. The last event of a deployment is always kept: it shows a reconnecting browser that there is no
    /// more, and a new one how the deployment ended.
    pub codes: Option<Vec<String>>,
    /// Maximum rows of a batch.
    pub batch: i64,
}

/// End time and id of a deployment, the order of removal.
type EndedDeployment = (DateTime<Utc>, String);

impl Db {
    /// Removes the next batch of events and counts it for `run`.
    pub async fn remove_events(&self, run: &ClaimedRun, removal: &EventRemoval) -> Result<Batch, DbError> {
        let Some(older_than) = run.older_than else { return Ok(Batch::Last(0)) };
        let mut tx = self.pool.begin().await?;
        let kind = run.kind.as_str();
        // Also locks the row against a run that was considered dead, so that the two never overwrite each other's progress.
        let progress = sqlx::query!(
            "INSERT INTO maintenance_progress AS p (kind) VALUES ($1)
             ON CONFLICT (kind) DO UPDATE SET removed_place = p.removed_place RETURNING completed_at, deployment_id",
            kind
        )
        .fetch_one(&mut *tx)
        .await?;
        let after = progress.completed_at.zip(progress.deployment_id);
        let chosen = choose(&mut tx, after.as_ref(), older_than, removal.batch).await?;
        let Some(last) = chosen.last().cloned() else {
            let ours = renew(&mut tx, run.id, 0).await?;
            tx.commit().await?;
            return Ok(if ours { Batch::Last(0) } else { Batch::Lost });
        };
        let ids: Vec<String> = chosen.iter().map(|(_, id)| id.clone()).collect();
        let held = lock(&mut tx, &ids, older_than).await?;
        let gone = delete(&mut tx, &held, removal).await?;
        if removal.codes.is_none() {
            delete_history(&mut tx, &held.ids).await?;
        }
        // A full batch may have left events of its last deployment: the next batch begins with that deployment.
        let done = match gone.last {
            Some(partly) if gone.rows >= removal.batch => chosen
                .iter()
                .position(|(_, id)| *id == partly)
                .and_then(|at| at.checked_sub(1))
                .map(|at| chosen[at].clone())
                .or(after),
            _ => Some(last),
        };
        let (completed_at, id) = done.unzip();
        sqlx::query!(
            "UPDATE maintenance_progress SET completed_at = $2, deployment_id = $3, removed_place = greatest(removed_place, $4)
             WHERE kind = $1",
            kind,
            completed_at,
            id,
            gone.place
        )
        .execute(&mut *tx)
        .await?;
        if !renew(&mut tx, run.id, gone.rows).await? {
            return Ok(Batch::Lost);
        }
        crate::failpoints::reached("maintenance commit/before");
        tx.commit().await?;
        Ok(Batch::Some(gone.rows))
    }

    /// Counts the events that the next deployments after `after` would lose, and returns the last of these deployments; none when nothing is left.
    pub async fn count_events(
        &self,
        run: &ClaimedRun,
        removal: &EventRemoval,
        after: Option<EndedDeployment>,
    ) -> Result<Option<(i64, EndedDeployment)>, DbError> {
        let Some(older_than) = run.older_than else { return Ok(None) };
        let after = match after {
            Some(after) => Some(after),
            None => self.progress(run).await?,
        };
        let mut connection = self.pool.acquire().await?;
        let chosen = choose(&mut connection, after.as_ref(), older_than, removal.batch).await?;
        let Some(last) = chosen.last().cloned() else { return Ok(None) };
        let ids: Vec<String> = chosen.into_iter().map(|(_, id)| id).collect();
        let count = sqlx::query_scalar!(
            "SELECT count(*) AS \"count!\" FROM deployment_events e JOIN deployments d ON d.id = e.deployment_id
             WHERE e.deployment_id = ANY ($1) AND e.seq < d.next_event_seq - 1 AND ($2::text[] IS NULL OR e.code = ANY ($2))",
            &ids,
            removal.codes.as_deref()
        )
        .fetch_one(&mut *connection)
        .await?;
        Ok(Some((count, last)))
    }

    async fn progress(&self, run: &ClaimedRun) -> Result<Option<EndedDeployment>, DbError> {
        let progress = sqlx::query!(
            "SELECT completed_at, deployment_id FROM maintenance_progress WHERE kind = $1",
            run.kind.as_str()
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(progress.and_then(|row| row.completed_at.zip(row.deployment_id)))
    }
}

/// Selects the next finished deployments, up to the first that AWS may still change: at least one, and more while their published events stay within a few batches, because some of those may be
/// gone.
async fn choose(
    connection: &mut PgConnection,
    after: Option<&EndedDeployment>,
    older_than: DateTime<Utc>,
    events: i64,
) -> Result<Vec<EndedDeployment>, DbError> {
    let (completed_at, id) = after.cloned().unzip();
    let rows = sqlx::query!(
        "SELECT completed_at AS \"completed_at!\", id
         FROM (SELECT completed_at, id,
                      sum(next_event_seq - 1) OVER (ORDER BY completed_at, id) AS events,
                      row_number() OVER (ORDER BY completed_at, id) AS n
               FROM (SELECT completed_at, id, next_event_seq FROM deployments
                     WHERE completed_at < least($1, (SELECT min(w.completed_at) FROM deployments w WHERE w.watched))
                       AND (completed_at, id) > (coalesce($2::timestamptz, '-infinity'), coalesce($3::text, ''))
                     ORDER BY completed_at, id LIMIT $4) AS next) AS counted
         WHERE n = 1 OR events <= $5::bigint ORDER BY completed_at, id",
        older_than,
        completed_at,
        id,
        MAX_DEPLOYMENTS,
        events * PUBLISHED_PER_REMOVED
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (row.completed_at, row.id)).collect())
}

/// Locked deployments in the order of their ends, with the number of the last event of each.
pub(super) struct LockedDeployments {
    pub(super) ids: Vec<String>,
    lasts: Vec<i64>,
}

/// Locks those deployments that are still finished until the transaction ends: a deployment retried meanwhile is skipped, or its retry waits.
pub(super) async fn lock(
    connection: &mut PgConnection,
    ids: &[String],
    older_than: DateTime<Utc>,
) -> Result<LockedDeployments, DbError> {
    // Locked in the order of ids, as commits do.
    let mut rows = sqlx::query!(
        "SELECT id, next_event_seq - 1 AS \"last!\"
         FROM deployments WHERE id = ANY ($1) AND completed_at < $2 AND NOT watched ORDER BY id FOR SHARE",
        ids,
        older_than
    )
    .fetch_all(connection)
    .await?;
    rows.sort_by_key(|row| ids.iter().position(|id| *id == row.id));
    let (ids, lasts) = rows.into_iter().map(|row| (row.id, row.last)).unzip();
    Ok(LockedDeployments { ids, lasts })
}

/// Deletes the stored histories of these deployments: without the published events there is nothing to compare them with.
async fn delete_history(connection: &mut PgConnection, ids: &[String]) -> Result<(), DbError> {
    sqlx::query!("DELETE FROM history_pieces WHERE deployment_id = ANY ($1)", ids).execute(connection).await?;
    Ok(())
}

pub(super) struct DeletedEvents {
    pub(super) rows: i64,
    pub(super) place: i64,
    /// The last deployment that lost events; earlier ones have none left to remove.
    last: Option<String>,
}

/// Deletes events, one deployment after the other.
pub(super) async fn delete(
    connection: &mut PgConnection,
    held: &LockedDeployments,
    removal: &EventRemoval,
) -> Result<DeletedEvents, DbError> {
    // Events are never updated, so a row stays where the inner query saw it. The subquery's order is that of the loop.
    let gone = sqlx::query!(
        "WITH gone AS (
             DELETE FROM deployment_events WHERE ctid = ANY (ARRAY (
                 SELECT e.ctid
                 FROM (SELECT * FROM unnest($1::text[], $2::bigint[]) WITH ORDINALITY AS held (id, last, n) ORDER BY n) AS held
                 CROSS JOIN LATERAL (SELECT e.ctid FROM deployment_events e
                                     WHERE e.deployment_id = held.id AND e.seq < held.last AND ($3::text[] IS NULL OR e.code = ANY ($3))
                                     OFFSET 0) AS e
                 ORDER BY held.n LIMIT $4))
             RETURNING deployment_id, place)
         SELECT count(*) AS \"rows!\", coalesce(max(place), 0) AS \"place!\", max(array_position($1::text[], deployment_id)) AS n FROM gone",
        &held.ids,
        &held.lasts,
        removal.codes.as_deref(),
        removal.batch
    )
    .fetch_one(connection)
    .await?;
    let n = gone.n.and_then(|n| usize::try_from(n - 1).ok());
    let last = n.and_then(|n| held.ids.get(n)).cloned();
    Ok(DeletedEvents { rows: gone.rows, place: gone.place, last })
}
