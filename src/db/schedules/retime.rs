//! Schedules whose next time was computed with an older edition of the time zone database.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::db::DbError;

/// Schedules computed again in one transaction.
const PAGE_SIZE: i64 = 200;

/// A schedule with an outdated next time, whose row is locked.
#[derive(Clone, Debug)]
pub struct OutdatedSchedule {
    /// Id of the schedule.
    pub id: String,
    /// Cron expression, as in `schedules.cron`.
    pub cron: String,
    /// Time zone of the expression.
    pub time_zone: String,
    /// Next time by the older edition.
    pub next: DateTime<Utc>,
    /// The database's time of the statement.
    pub now: DateTime<Utc>,
}

/// Locks schedules whose next time is in the future and older than `edition`. A due one is left to its run, which sets the time after it.
pub async fn lock_outdated(connection: &mut PgConnection, edition: &str) -> Result<Vec<OutdatedSchedule>, DbError> {
    Ok(sqlx::query_as!(
        OutdatedSchedule,
        "SELECT id, cron, time_zone, next_run_at AS \"next!\", clock_timestamp() AS \"now!\" FROM schedules
         WHERE next_run_at > clock_timestamp() AND zone_edition COLLATE \"C\" < $1
         ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED",
        edition,
        PAGE_SIZE
    )
    .fetch_all(connection)
    .await?)
}

/// Replaces the next time of a schedule by one of `edition`.
pub async fn retime(
    connection: &mut PgConnection,
    id: &str,
    next: Option<DateTime<Utc>>,
    edition: &str,
) -> Result<(), DbError> {
    sqlx::query!("UPDATE schedules SET next_run_at = $2, zone_edition = $3 WHERE id = $1", id, next, edition)
        .execute(connection)
        .await?;
    Ok(())
}
