//! Database health: whether it takes writes, as the heartbeat and the write probe last found, and descriptions of its errors for operators.

use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use sqlx::Error;

use super::connect::Cause;
use super::{Db, DbError};
use crate::domain::message::Message;

/// Health state, shared by all clones of a [`Db`].
#[derive(Debug, Default)]
pub(super) struct DbHealth(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Error that keeps the heartbeat from being written.
    trouble: Option<Message>,
    /// Error that keeps new rows from being stored.
    full: Option<Message>,
    /// Reason for which the server does not use the schema yet.
    schema_pending: Option<Message>,
    /// Connections opened before this time are not reused.
    distrusted: Option<Instant>,
}

impl DbHealth {
    /// Reports that a connection opened `age` ago may be used.
    pub(super) fn trusts(&self, age: Duration) -> bool {
        let state = self.state();
        state.distrusted.is_none_or(|since| since.elapsed() > age)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }
}

impl Db {
    /// Describes the error that keeps the database from taking writes. None when the last heartbeat and write probe succeeded, or none was tried yet.
    pub fn trouble(&self) -> Option<Message> {
        let state = self.health.state();
        state.trouble.clone().or_else(|| state.full.clone())
    }

    /// Tests whether the database can store a new row, and keeps the result for [`Db::trouble`]. A heartbeat needs no space and succeeds on a full
    /// disk.
    pub async fn probe_writes(&self) {
        let full = match self.write_and_roll_back().await {
            Ok(()) => None,
            Err(DbError::Unavailable(error) | DbError::Refused(error)) if is_storage(&error) => {
                Some(outage_text(&error))
            }
            // Another replica's probe or a backup holds the table lock; a missing connection is reported by the heartbeat.
            Err(error) => return tracing::debug!(%error, "write probe inconclusive"),
        };
        let mut state = self.health.state();
        if state.full != full {
            if let Some(reason) = &full {
                tracing::error!(%reason, "the database stores no new rows");
            } else {
                tracing::info!("the database stores new rows again");
            }
        }
        state.full = full;
    }

    /// Inserts a row into a truncated table: that needs a new file and a page of it, which the rollback removes.
    async fn write_and_roll_back(&self) -> Result<(), DbError> {
        let mut tx = self.pool.begin().await?;
        sqlx::query!("LOCK TABLE write_probe IN ACCESS EXCLUSIVE MODE NOWAIT").execute(&mut *tx).await?;
        sqlx::query!("TRUNCATE write_probe").execute(&mut *tx).await?;
        sqlx::query!("INSERT INTO write_probe (probe) VALUES (1)").execute(&mut *tx).await?;
        tx.rollback().await?;
        Ok(())
    }

    /// Sets the reason for which the schema cannot be used yet; none when it can. Until then requests are answered with that reason instead of
    /// failing statements.
    pub fn set_schema_pending(&self, reason: Option<Message>) {
        self.health.state().schema_pending = reason;
    }

    /// Fails while the schema cannot be used.
    ///
    /// # Errors
    /// [`DbError::SchemaPending`] with the reason.
    pub fn check_schema_pending(&self) -> Result<(), DbError> {
        self.health.state().schema_pending.clone().map_or(Ok(()), |reason| Err(DbError::SchemaPending(reason)))
    }

    /// Stores the outcome of a heartbeat; none when it was written.
    ///
    /// A session that began while the database was read-only by default remains read-only after the default is reset. So connections opened before
    /// the trouble began or ended are not reused.
    pub fn note_heartbeat(&self, trouble: Option<Message>) {
        let mut state = self.health.state();
        if trouble.is_some() || state.trouble.is_some() {
            state.distrusted = Some(Instant::now());
        }
        state.trouble = trouble;
    }

    /// Describes a database that has not answered.
    pub fn no_answer_cause(&self) -> Message {
        self.connector.cause().unwrap_or(Cause::Silent).message()
    }
}

/// Describes an error, and appends the text of the library or server where that adds something.
pub(super) fn description(error: &Error) -> String {
    let text = outage_text(error);
    if super::connect::carried(error).is_some() { text.into() } else { format!("{text}: {error}") }
}

/// Describes the error of a database that cannot run a statement now.
pub fn outage_text(error: &Error) -> Message {
    if let Some(cause) = super::connect::carried(error) {
        return cause.message();
    }
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code).unwrap_or_default();
    Message::new(match &*code {
        "25006" => "database.read_only",
        "53100" => "database.disk_full",
        "58030" | "XX000" => "database.disk_error",
        "42501" => "database.lacks_privilege",
        code if is_not_set_up(code) => "database.not_migrated",
        "53300" => "database.too_many_connections",
        "57P01" | "57P02" | "57P03" => "database.starting",
        "57014" | "55P03" => "database.slow",
        _ => "database.silent",
    })
}

/// Reports that a table, column, function or schema does not exist, or that the role may not use it: the operator still has a step to do.
pub(super) fn is_not_set_up(code: &str) -> bool {
    ["42P01", "42703", "42883", "3F000", "42501"].contains(&code)
}

/// Reports that the disk is full, broken or over its quota; Postgres has no separate code for the last.
fn is_storage(error: &Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| ["53100", "58030", "XX000"].contains(&&*code))
}
