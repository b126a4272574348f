//! The log filter that an admin sets on all replicas for a limited time: one row, or none. It expires by the database's clock.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::{Db, DbError};
use crate::domain::log_filter::LogFilter;

/// A log filter that is set and has not expired.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "each field is the column of the same name, defined by its comment in the migrations")]
pub struct SetFilter {
    pub filter: String,
    pub set_by: String,
    pub set_at: DateTime<Utc>,
    pub until: DateTime<Utc>,
    /// Seconds until it expires, by the database's clock; zero or negative when it has expired.
    pub seconds: f64,
}

impl SetFilter {
    /// Time until the filter expires.
    pub fn left(&self) -> Duration {
        Duration::try_from_secs_f64(self.seconds).unwrap_or_default()
    }
}

impl Db {
    /// Returns the filter in force; none when each replica uses its configured filter.
    pub async fn log_filter(&self) -> Result<Option<SetFilter>, DbError> {
        let row = sqlx::query_as!(
            SetFilter,
            "SELECT filter, set_by, set_at, until, extract(epoch FROM until - clock_timestamp())::float8 AS \"seconds!\" FROM log_filter"
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(self.unless_expired(row).await)
    }

    /// Returns `row` unless it has expired. The first replica that sees an expired row deletes it.
    pub(super) async fn unless_expired(&self, row: Option<SetFilter>) -> Option<SetFilter> {
        let expired = row.as_ref().filter(|row| row.seconds <= 0.0);
        let Some(expired) = expired else { return row };
        // An expired filter counts as expired even while the database is read-only and the row cannot be deleted.
        let removed = sqlx::query!("DELETE FROM log_filter WHERE until <= clock_timestamp()").execute(&self.pool).await;
        if let Err(error) = removed {
            tracing::debug!(%error, filter = expired.filter, "expired log filter not deleted yet");
        }
        None
    }
}

/// Sets `filter` on all replicas for `time`, in place of the previous one.
pub async fn set(
    connection: &mut PgConnection,
    filter: &LogFilter,
    time: Duration,
    set_by: &str,
) -> Result<SetFilter, DbError> {
    let set = sqlx::query_as!(
        SetFilter,
        "INSERT INTO log_filter AS f (filter, set_by, set_at, until)
             SELECT $1, $2, now.at, now.at + make_interval(secs => $3) FROM (SELECT clock_timestamp() AS at) now
             ON CONFLICT (one) DO UPDATE
             SET filter = excluded.filter, set_by = excluded.set_by, set_at = excluded.set_at, until = excluded.until
             RETURNING filter, set_by, set_at, until, extract(epoch FROM until - clock_timestamp())::float8 AS \"seconds!\"",
        filter.as_str(),
        set_by,
        time.as_secs_f64()
    )
    .fetch_one(connection)
    .await?;
    Ok(set)
}

/// Removes the filter.
pub async fn reset(connection: &mut PgConnection) -> Result<(), DbError> {
    sqlx::query!("DELETE FROM log_filter").execute(connection).await?;
    Ok(())
}
