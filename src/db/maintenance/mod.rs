//! Runs of maintenance: who may remove now, how far it came, and the record of it. All times are the database's.
//!
//! A row that is `running` is the right to remove. Each batch renews it in its own transaction: a run whose replica was paused
//! for longer than [`LEASE`] finds its row ended by another, and its batch is rolled back.

mod ended;
mod events;
mod local;
mod records;

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;

use super::idempotency::{IdempotencyKey, Once, keep, reserve};
use super::{Db, DbError, audit};
use crate::domain::maintenance::{Kind, State};
pub use events::Removal;

/// Without a sign of life for so long, a run counts as interrupted. A batch takes a second, the longest call to an engine a minute.
pub const LEASE: Duration = Duration::from_mins(2);

/// A run that this process is to carry out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Its row.
    pub id: i64,
    /// What it removes.
    pub kind: Kind,
    /// Whether it only counts.
    pub dry_run: bool,
    /// What ended before this is removed; none where age does not matter.
    pub older_than: Option<DateTime<Utc>>,
}

/// What one batch came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batch {
    /// So much was removed, and there may be more.
    Some(i64),
    /// So much was removed, and nothing is left.
    Last(i64),
    /// Nothing happened: the run is not this process's any more.
    Lost,
}

/// Where something is to be run, and for how long it is kept.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// What.
    pub kind: Kind,
    /// This process: host name and process id.
    pub replica: &'a str,
    /// For how long it is kept; none where age does not matter.
    pub keep: Option<Duration>,
}

impl Wanted<'_> {
    /// Where it runs: what is in the database has one place.
    fn place(&self) -> &str {
        if self.kind.is_local() { self.replica } else { "" }
    }
}

/// A run as it is shown.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "each field is the column of the same name, defined by its comment in the migrations")]
pub struct RunView {
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

/// Which runs.
#[derive(Clone, Debug, Default)]
pub struct RunFilter {
    /// Only this kind.
    pub kind: Option<Kind>,
    /// Only these.
    pub ids: Option<Vec<i64>>,
    /// Only rows before this one.
    pub before: Option<i64>,
    /// Most rows.
    pub limit: i64,
}

impl Db {
    /// Begins the run that is due at the tick `due_at`; none when another replica has it, had it, or is still at the one before.
    pub async fn begin_maintenance(&self, wanted: Wanted<'_>, due_at: DateTime<Utc>) -> Result<Option<Run>, DbError> {
        let mut tx = self.pool.begin().await?;
        interrupt_silent(&mut tx).await?;
        let begun = sqlx::query!(
            "INSERT INTO maintenance_runs (kind, place, state, due_at, replica, started_at, renewed_at, older_than)
             VALUES ($1, $2, 'running', $3, $4, now(), clock_timestamp(), now() - make_interval(secs => $5))
             ON CONFLICT DO NOTHING RETURNING id, older_than",
            wanted.kind.as_str(),
            wanted.place(),
            due_at,
            wanted.replica,
            wanted.keep.map(|keep| keep.as_secs_f64())
        )
        .fetch_optional(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(begun.map(|row| Run { id: row.id, kind: wanted.kind, dry_run: false, older_than: row.older_than }))
    }

    /// Ends runs whose replica went silent, and requests for replicas that are gone. Whether some request waits.
    pub async fn tend_maintenance(&self) -> Result<bool, DbError> {
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

    /// Begins a run that somebody asked for; none when there is none, or one of that kind is under way.
    pub async fn begin_requested(&self, wanted: Wanted<'_>) -> Result<Option<Run>, DbError> {
        let begun = sqlx::query!(
            "UPDATE maintenance_runs SET state = 'running', replica = $3, started_at = now(), renewed_at = clock_timestamp(),
                    older_than = now() - make_interval(secs => $4)
             WHERE id = (SELECT q.id FROM maintenance_runs q
                         WHERE q.state = 'requested' AND q.kind = $1 AND q.place = $2
                           AND (q.dry_run OR NOT EXISTS (SELECT FROM maintenance_runs r WHERE r.kind = q.kind AND r.place = q.place
                                                         AND r.state = 'running' AND NOT r.dry_run))
                         ORDER BY q.id LIMIT 1 FOR UPDATE SKIP LOCKED)
             RETURNING id, dry_run, older_than",
            wanted.kind.as_str(),
            wanted.place(),
            wanted.replica,
            wanted.keep.map(|keep| keep.as_secs_f64())
        )
        .fetch_optional(&self.pool)
        .await;
        match begun {
            Ok(row) => Ok(row.map(|row| Run {
                id: row.id,
                kind: wanted.kind,
                dry_run: row.dry_run,
                older_than: row.older_than,
            })),
            // Another one began between the look and the update: this one waits for it.
            Err(sqlx::Error::Database(error)) if error.is_unique_violation() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Asks for a run of `kind`; what is local is asked of each living replica. `answer` is made of the rows' ids, and kept for the key.
    pub async fn request_maintenance(
        &self,
        kind: Kind,
        dry_run: bool,
        key: Option<&IdempotencyKey>,
        entry: &audit::Entry<'_>,
        answer: impl FnOnce(&[i64]) -> Value,
    ) -> Result<Once<Value>, DbError> {
        let key = self.keyed(key).await?;
        let mut tx = self.pool.begin().await?;
        if let Some(known) = reserve(&mut tx, key.as_ref()).await? {
            return Ok(known);
        }
        let ids = sqlx::query_scalar!(
            "INSERT INTO maintenance_runs (kind, place, dry_run, state, requested_at, requested_by)
             SELECT $1, place, $2, 'requested', now(), $3
             FROM (SELECT '' AS place WHERE NOT $4
                   UNION SELECT name FROM replicas WHERE $4 AND heartbeat_at + lease_ms * interval '1 millisecond' > clock_timestamp()
                   ORDER BY 1) AS places
             RETURNING id",
            kind.as_str(),
            dry_run,
            entry.by.principal.subject,
            kind.is_local()
        )
        .fetch_all(&mut *tx)
        .await?;
        let answer = answer(&ids);
        keep(&mut tx, key.as_ref(), &answer).await?;
        audit::record(&mut tx, entry).await?;
        tx.commit().await?;
        Ok(Once::Now(answer))
    }

    /// Ends a run; nothing when it is not this process's any more.
    pub async fn end_maintenance(&self, id: i64, state: State, error: Option<&str>) -> Result<(), DbError> {
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

    /// Counts `removed` more, outside of a batch of the database's own. False when the run is not this process's any more.
    pub async fn renew_maintenance(&self, id: i64, removed: i64) -> Result<bool, DbError> {
        renew(&mut *self.pool.acquire().await?, id, removed).await
    }

    /// Runs, newest first.
    pub async fn maintenance_runs(&self, filter: &RunFilter) -> Result<Vec<RunView>, DbError> {
        Ok(sqlx::query_as!(
            RunView,
            "SELECT id, kind, place, dry_run, state, due_at, requested_at, requested_by, replica, started_at, older_than, ended_at,
                    removed, error
             FROM maintenance_runs
             WHERE ($1::text IS NULL OR kind = $1) AND ($2::bigint IS NULL OR id < $2) AND ($3::bigint[] IS NULL OR id = ANY ($3))
             ORDER BY id DESC LIMIT $4",
            filter.kind.map(Kind::as_str),
            filter.before,
            filter.ids.as_deref(),
            filter.limit
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// The newest run of each kind that was no dry run, of each place the newest alone.
    pub async fn last_maintenance(&self) -> Result<Vec<RunView>, DbError> {
        Ok(sqlx::query_as!(
            RunView,
            "SELECT DISTINCT ON (kind) id, kind, place, dry_run, state, due_at, requested_at, requested_by, replica, started_at,
                    older_than, ended_at, removed, error
             FROM maintenance_runs WHERE NOT dry_run ORDER BY kind, id DESC"
        )
        .fetch_all(&self.pool)
        .await?)
    }
}

/// Within the caller's transaction: the run goes on, and `removed` more are counted. False when it is not the caller's any more; then
/// the transaction must be rolled back.
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

/// What went silent gives its right away.
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
