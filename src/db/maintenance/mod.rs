//! Maintenance runs: the right to remove data, the progress, and the record. All times are by the database's clock.
//!
//! A row in state `running` is the right to remove. Each batch renews it in its own transaction: a run whose replica was paused for longer than
//! [`LEASE`] finds its row ended by another replica, and its batch is rolled back.

mod archive;
mod events;
mod local_artifacts;
mod records;

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::{Db, DbError};
use crate::domain::maintenance::{RetentionKind, RetentionRunState};
pub use events::EventRemoval;

/// Time without renewal after which a run counts as interrupted. A batch takes a second, the longest call to an engine a minute.
pub const LEASE: Duration = Duration::from_mins(2);

/// A run that this process has to carry out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedRun {
    /// Id of its row.
    pub id: i64,
    /// Kind of data to remove.
    pub kind: RetentionKind,
    /// Counts what would be removed, and removes nothing.
    pub dry_run: bool,
    /// Removes data that ended before this time; none where age does not matter.
    pub older_than: Option<DateTime<Utc>>,
}

/// Outcome of one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batch {
    /// Rows removed; there may be more.
    Some(i64),
    /// Rows removed; nothing is left.
    Last(i64),
    /// Nothing was removed: another replica has ended this run.
    Lost,
}

/// Maintenance that this process can run.
#[derive(Clone, Copy, Debug)]
pub struct MaintenanceJob<'a> {
    /// Kind of data to remove, by name of its rule.
    pub kind: RetentionKind,
    /// This process: host name and process id.
    pub replica: &'a str,
    /// Retention period; none where age does not matter.
    pub keep: Option<Duration>,
}

impl MaintenanceJob<'_> {
    /// Returns the replica for local maintenance, and an empty string for the database, which has one run for all replicas.
    fn target(&self) -> &str {
        if self.kind.is_local() { self.replica } else { "" }
    }
}

/// A run as it may be shown.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "each field is the column of the same name, defined by its comment in the migrations")]
pub struct MaintenanceRunView {
    pub id: i64,
    pub kind: String,
    pub place: String,
    pub dry_run: bool,
    pub state: String,
    pub due_at: Option<DateTime<Utc>>,
    pub requested_at: Option<DateTime<Utc>>,
    pub requested_by: Option<String>,
    pub replica: Option<String>,
    pub started_at: Option<DateTime<Utc>>,
    pub older_than: Option<DateTime<Utc>>,
    pub ended_at: Option<DateTime<Utc>>,
    pub removed: i64,
    pub error: Option<String>,
}

/// Filter of a list of runs.
#[derive(Clone, Debug, Default)]
pub struct MaintenanceRunFilter {
    /// Only runs of this kind.
    pub kind: Option<RetentionKind>,
    /// Only runs with these ids.
    pub ids: Option<Vec<i64>>,
    /// Only rows before this id.
    pub before: Option<i64>,
    /// Maximum number of rows.
    pub limit: i64,
}

impl Db {
    /// Begins the run that is due at the tick `due_at`. None when another replica runs it, has run it, or is still running the previous one.
    pub async fn begin_maintenance(
        &self,
        job: MaintenanceJob<'_>,
        due_at: DateTime<Utc>,
    ) -> Result<Option<ClaimedRun>, DbError> {
        let mut tx = self.pool.begin().await?;
        interrupt_silent(&mut tx).await?;
        let begun = sqlx::query!(
            "INSERT INTO maintenance_runs (kind, place, state, due_at, replica, started_at, renewed_at, older_than)
             VALUES ($1, $2, 'running', $3, $4, now(), clock_timestamp(), now() - make_interval(secs => $5))
             ON CONFLICT DO NOTHING RETURNING id, older_than",
            job.kind.as_str(),
            job.target(),
            due_at,
            job.replica,
            job.keep.map(|keep| keep.as_secs_f64())
        )
        .fetch_optional(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(begun.map(|row| ClaimedRun { id: row.id, kind: job.kind, dry_run: false, older_than: row.older_than }))
    }

    /// Interrupts runs whose replica went silent, and requests to replicas that are gone. Returns whether a request is waiting.
    pub async fn expire_maintenance_runs(&self) -> Result<bool, DbError> {
        let waiting = sqlx::query_scalar!(
            "SELECT EXISTS (SELECT FROM maintenance_runs WHERE state IN ('requested', 'running')) AS \"waiting!\""
        )
        .fetch_one(&self.pool)
        .await?;
        if !waiting {
            return Ok(false);
        }
        let mut tx = self.pool.begin().await?;
        interrupt_silent(&mut tx).await?;
        sqlx::query!(
            "UPDATE maintenance_runs m SET state = 'interrupted', ended_at = now(), error = 'its replica is gone'
             WHERE m.state = 'requested' AND m.place <> '' AND m.requested_at < now() - make_interval(secs => $1)
               AND NOT EXISTS (SELECT FROM replicas r WHERE r.name = m.place
                               AND r.heartbeat_at + r.lease_ms * interval '1 millisecond' > clock_timestamp())",
            LEASE.as_secs_f64()
        )
        .execute(&mut *tx)
        .await?;
        let requested = sqlx::query_scalar!(
            "SELECT EXISTS (SELECT FROM maintenance_runs WHERE state = 'requested') AS \"requested!\""
        )
        .fetch_one(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(requested)
    }

    /// Begins a requested run; none when there is no request, or when a run of that kind is in progress.
    pub async fn begin_requested(&self, job: MaintenanceJob<'_>) -> Result<Option<ClaimedRun>, DbError> {
        let begun = sqlx::query!(
            "UPDATE maintenance_runs SET state = 'running', replica = $3, started_at = now(), renewed_at = clock_timestamp(),
                    older_than = now() - make_interval(secs => $4)
             WHERE id = (SELECT q.id FROM maintenance_runs q
                         WHERE q.state = 'requested' AND q.kind = $1 AND q.place = $2
                           AND (q.dry_run OR NOT EXISTS (SELECT FROM maintenance_runs r WHERE r.kind = q.kind AND r.place = q.place
                                                         AND r.state = 'running' AND NOT r.dry_run))
                         ORDER BY q.id LIMIT 1 FOR UPDATE SKIP LOCKED)
             RETURNING id, dry_run, older_than",
            job.kind.as_str(),
            job.target(),
            job.replica,
            job.keep.map(|keep| keep.as_secs_f64())
        )
        .fetch_optional(&self.pool)
        .await;
        match begun {
            Ok(row) => Ok(row.map(|row| ClaimedRun {
                id: row.id,
                kind: job.kind,
                dry_run: row.dry_run,
                older_than: row.older_than,
            })),
            // Another run began between the check and the update: this request waits for it.
            Err(sqlx::Error::Database(error)) if error.is_unique_violation() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Ends a run, unless another replica has ended it.
    pub async fn end_maintenance(&self, id: i64, state: RetentionRunState, error: Option<&str>) -> Result<(), DbError> {
        sqlx::query!(
            "UPDATE maintenance_runs SET state = $2, error = $3, ended_at = clock_timestamp() WHERE id = $1 AND state = 'running'",
            id,
            state.as_str(),
            error
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Renews a run and adds `removed` to its count, outside a batch of database rows. False when another replica has ended the run.
    pub async fn renew_maintenance(&self, id: i64, removed: i64) -> Result<bool, DbError> {
        renew(&mut *self.pool.acquire().await?, id, removed).await
    }

    /// Lists runs, newest first.
    pub async fn maintenance_runs(&self, filter: &MaintenanceRunFilter) -> Result<Vec<MaintenanceRunView>, DbError> {
        Ok(sqlx::query_as!(
            MaintenanceRunView,
            "SELECT id, kind, place, dry_run, state, due_at, requested_at, requested_by, replica, started_at, older_than, ended_at,
                    removed, error
             FROM maintenance_runs
             WHERE ($1::text IS NULL OR kind = $1) AND ($2::bigint IS NULL OR id < $2) AND ($3::bigint[] IS NULL OR id = ANY ($3))
             ORDER BY id DESC LIMIT $4",
            filter.kind.map(RetentionKind::as_str),
            filter.before,
            filter.ids.as_deref(),
            filter.limit
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// Returns the newest run of each kind over all replicas, dry runs excluded.
    pub async fn last_maintenance(&self) -> Result<Vec<MaintenanceRunView>, DbError> {
        Ok(sqlx::query_as!(
            MaintenanceRunView,
            "SELECT DISTINCT ON (kind) id, kind, place, dry_run, state, due_at, requested_at, requested_by, replica, started_at,
                    older_than, ended_at, removed, error
             FROM maintenance_runs WHERE NOT dry_run ORDER BY kind, id DESC"
        )
        .fetch_all(&self.pool)
        .await?)
    }
}

/// Requests a run of `kind`; a local kind is requested from each living replica. Returns the rows' ids.
pub async fn request(
    connection: &mut PgConnection,
    kind: RetentionKind,
    dry_run: bool,
    requested_by: &str,
) -> Result<Vec<i64>, DbError> {
    let ids = sqlx::query_scalar!(
        "INSERT INTO maintenance_runs (kind, place, dry_run, state, requested_at, requested_by)
             SELECT $1, place, $2, 'requested', now(), $3
             FROM (SELECT '' AS place WHERE NOT $4
                   UNION SELECT name FROM replicas WHERE $4 AND heartbeat_at + lease_ms * interval '1 millisecond' > clock_timestamp()
                   ORDER BY 1) AS places
             RETURNING id",
        kind.as_str(),
        dry_run,
        requested_by,
        kind.is_local()
    )
    .fetch_all(connection)
    .await?;
    Ok(ids)
}

/// Renews a run and adds `removed` to its count, within the caller's transaction. False when another replica has ended the run; the transaction must
/// be rolled back then.
async fn renew(connection: &mut PgConnection, id: i64, removed: i64) -> Result<bool, DbError> {
    let renewed = sqlx::query!(
        "UPDATE maintenance_runs SET renewed_at = clock_timestamp(), removed = removed + $2 WHERE id = $1 AND state = 'running'",
        id,
        removed
    )
    .execute(connection)
    .await?;
    Ok(renewed.rows_affected() == 1)
}

/// Interrupts runs that were not renewed in time.
async fn interrupt_silent(connection: &mut PgConnection) -> Result<(), DbError> {
    sqlx::query!(
        "UPDATE maintenance_runs SET state = 'interrupted', ended_at = renewed_at
         WHERE state = 'running' AND renewed_at < clock_timestamp() - make_interval(secs => $1)",
        LEASE.as_secs_f64()
    )
    .execute(connection)
    .await?;
    Ok(())
}
