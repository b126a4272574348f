//! The log filter that rules on all replicas for a while: a row, or none. The database's clock says how long.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::audit::{Entry, record};
use super::{Db, DbError};
use crate::domain::log_filter::LogFilter;

/// A filter that was set and whose time is not up.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "each field is the column of the same name, defined by its comment in the migrations")]
pub struct SetFilter {
    pub filter: String,
    pub set_by: String,
    pub set_at: DateTime<Utc>,
    pub until: DateTime<Utc>,
    /// Seconds until then, by the database's clock; nothing or less when it is over.
    pub seconds: f64,
}

impl SetFilter {
    /// How long it still rules.
    pub fn left(&self) -> Duration {
        Duration::try_from_secs_f64(self.seconds).unwrap_or_default()
    }
}

impl Db {
    /// The one that rules now; none when each replica's own does.
    pub async fn log_filter(&self) -> Result<Option<SetFilter>, DbError> {
        let row = sqlx::query_as!(
            SetFilter,
            "SELECT filter, set_by, set_at, until, extract(epoch FROM until - clock_timestamp())::float8 AS \"seconds!\" FROM log_filter"
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(self.unless_over(row).await)
    }

    /// `row`, when its time is not up. One that is over is removed by whoever sees it.
    pub(super) async fn unless_over(&self, row: Option<SetFilter>) -> Option<SetFilter> {
        let over = row.as_ref().filter(|row| row.seconds <= 0.0);
        let Some(over) = over else { return row };
        // A database that is read-only just now must not keep it from being over.
        let removed = sqlx::query!("DELETE FROM log_filter WHERE until <= clock_timestamp()").execute(&self.pool).await;
        if let Err(error) = removed {
            tracing::debug!(%error, filter = over.filter, "a log filter that is over could not be removed yet");
        }
        None
    }

    /// Has `filter` rule on all replicas for `time`, in place of the one before.
    pub async fn set_log_filter(
        &self,
        filter: &LogFilter,
        time: Duration,
        entry: &Entry<'_>,
    ) -> Result<SetFilter, DbError> {
        let mut tx = self.pool.begin().await?;
        let set = sqlx::query_as!(
            SetFilter,
            "INSERT INTO log_filter AS f (filter, set_by, set_at, until)
             SELECT $1, $2, now.at, now.at + make_interval(secs => $3) FROM (SELECT clock_timestamp() AS at) now
             ON CONFLICT (one) DO UPDATE
             SET filter = excluded.filter, set_by = excluded.set_by, set_at = excluded.set_at, until = excluded.until
             RETURNING filter, set_by, set_at, until, extract(epoch FROM until - clock_timestamp())::float8 AS \"seconds!\"",
            filter.as_str(),
            entry.by.principal.subject,
            time.as_secs_f64()
        )
        .fetch_one(&mut *tx)
        .await?;
        record(&mut tx, entry).await?;
        tx.commit().await?;
        Ok(set)
    }

    /// Gives all replicas their own again.
    pub async fn reset_log_filter(&self, entry: &Entry<'_>) -> Result<(), DbError> {
        let mut tx = self.pool.begin().await?;
        sqlx::query!("DELETE FROM log_filter").execute(&mut *tx).await?;
        record(&mut tx, entry).await?;
        tx.commit().await?;
        Ok(())
    }
}
