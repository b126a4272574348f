//! Due schedules and the records of their runs. Each function is one statement of a command's transaction.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;
use sqlx::types::Json;

use super::target::ScheduleTarget;
use crate::db::{Db, DbError};
use crate::domain::cron::ZONE_EDITION;
use crate::domain::labels::Labels;
use crate::domain::message::Message;
use crate::domain::schedule::DueTimes;

/// A due schedule whose row is locked.
#[derive(Clone, Debug)]
pub struct DueSchedule {
    /// Deployment to start.
    pub target: ScheduleTarget,
    /// Cron expression.
    pub cron: String,
    /// Time zone of the expression.
    pub time_zone: String,
    /// Policy for missed times.
    pub missed: String,
    /// Time since which it is due.
    pub since: DateTime<Utc>,
    /// The database's time.
    pub now: DateTime<Utc>,
    /// Role of the owner when the schedule was made.
    pub role: String,
    /// Scope of the owner when the schedule was made; none for all repositories.
    pub scope: Option<Vec<String>>,
}

impl Db {
    /// Returns the time until the next schedule is due; negative when one is overdue. None when no schedule is active.
    pub async fn next_schedule(&self) -> Result<Option<TimeDelta>, DbError> {
        let seconds = sqlx::query_scalar!(
            "SELECT extract(epoch FROM min(next_run_at) - clock_timestamp())::float8 FROM schedules WHERE next_run_at IS NOT NULL"
        )
        .fetch_one(&self.pool)
        .await?;
        #[expect(clippy::cast_possible_truncation, reason = "the milliseconds of a few thousand years fit")]
        Ok(seconds.map(|seconds| TimeDelta::milliseconds((seconds * 1_000.0) as i64)))
    }
}

/// Locks the schedule that has been due for longest, unless another replica is processing it. None when no schedule is due.
pub async fn claim(connection: &mut PgConnection) -> Result<Option<DueSchedule>, DbError> {
    let row = sqlx::query!(
        "SELECT id, github_connection_id, aws_connection_id, branch, build, reason, kind, labels AS \"labels: Json<Labels>\", concurrency, cron, time_zone, missed, role, scope,
                next_run_at AS \"due!\", clock_timestamp() AS \"now!\"
         FROM schedules WHERE next_run_at <= clock_timestamp() ORDER BY next_run_at LIMIT 1 FOR UPDATE SKIP LOCKED"
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| DueSchedule {
        target: ScheduleTarget {
            id: row.id,
            github_connection_id: row.github_connection_id,
            aws_connection_id: row.aws_connection_id,
            branch: row.branch,
            build: row.build,
            reason: row.reason,
            kind: row.kind,
            labels: row.labels,
            concurrency: row.concurrency,
        },
        cron: row.cron,
        time_zone: row.time_zone,
        missed: row.missed,
        since: row.due,
        now: row.now,
        role: row.role,
        scope: row.scope,
    }))
}

/// Locks the schedule if it is still due at this time, and returns its expression and time zone.
pub async fn lock_due(
    connection: &mut PgConnection,
    id: &str,
    due: DateTime<Utc>,
) -> Result<Option<(String, String)>, DbError> {
    let row =
        sqlx::query!("SELECT cron, time_zone FROM schedules WHERE id = $1 AND next_run_at = $2 FOR UPDATE", id, due)
            .fetch_optional(connection)
            .await?;
    Ok(row.map(|row| (row.cron, row.time_zone)))
}

/// Reports that the schedule has a run at this time: a changed expression may yield a time again that was processed before.
pub async fn has_run_at(connection: &mut PgConnection, id: &str, due: DateTime<Utc>) -> Result<bool, DbError> {
    let known = sqlx::query!("SELECT FROM schedule_runs WHERE schedule_id = $1 AND due_at = $2", id, due)
        .fetch_optional(connection);
    Ok(known.await?.is_some())
}

/// Records times that were skipped.
pub async fn record_skipped(connection: &mut PgConnection, id: &str, times: DueTimes) -> Result<(), DbError> {
    sqlx::query!(
        "INSERT INTO schedule_runs (schedule_id, due_at, result, times) VALUES ($1, $2, 'skipped', $3) ON CONFLICT DO NOTHING",
        id,
        times.due,
        times.count
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Records the outcome of a due time: its deployment, or code and text of a failure.
pub async fn record_run(
    connection: &mut PgConnection,
    id: &str,
    times: DueTimes,
    result: &str,
    outcome: Result<&str, (&str, &Message)>,
) -> Result<(), DbError> {
    let (deployment, failure) = (outcome.ok(), outcome.err());
    sqlx::query!(
        "INSERT INTO schedule_runs (schedule_id, due_at, result, times, deployment_id, error_code, error_message, error_text)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        id,
        times.due,
        result,
        times.count,
        deployment,
        failure.map(|(code, _)| code),
        failure.map(|(_, message)| message.to_string()),
        failure.map(|(_, message)| message.to_json())
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Records a run that a caller requested.
pub async fn record_manual_run(
    connection: &mut PgConnection,
    id: &str,
    deployment: &str,
    asked_by: Option<&str>,
) -> Result<(), DbError> {
    sqlx::query!(
        "INSERT INTO schedule_runs (schedule_id, due_at, result, deployment_id, asked_by)
             VALUES ($1, clock_timestamp(), 'started', $2, $3)",
        id,
        deployment,
        asked_by
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Sets the next time; none until the schedule is changed.
pub async fn set_next(connection: &mut PgConnection, id: &str, next: Option<DateTime<Utc>>) -> Result<(), DbError> {
    // A program from before schedules could stop may have resumed a stopped one: it runs, so it is not stopped.
    sqlx::query!(
        "UPDATE schedules SET next_run_at = $2, zone_edition = $3, stopped_at = NULL, stopped_code = NULL, stopped_reason = NULL, stopped_text = NULL
         WHERE id = $1",
        id,
        next,
        ZONE_EDITION
    )
    .execute(connection)
    .await?;
    Ok(())
}
