//! Whether the database takes writes, as the heartbeat and the write probe last saw it; and what is wrong with it, in words.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sqlx::Error;

use super::connect::Cause;
use super::{Db, DbError};

/// Shared by all clones of a [`Db`].
#[derive(Debug, Default)]
pub(super) struct Health(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// What keeps the heartbeat from being written.
    trouble: Option<String>,
    /// What keeps new rows from being stored.
    full: Option<String>,
    /// What the server waits for before it uses the schema.
    schema_pending: Option<String>,
    /// Connections opened before this are not used again.
    distrusted: Option<Instant>,
}

impl Health {
    /// Whether a connection that was opened `age` ago may be used.
    pub(super) fn trusts(&self, age: Duration) -> bool {
        let state = self.state();
        state.distrusted.is_none_or(|since| since.elapsed() > age)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Db {
    /// What keeps the database from taking writes, in words. None when the last heartbeat and write probe succeeded, or none was tried yet.
    pub fn trouble(&self) -> Option<String> {
        let state = self.health.state();
        state.trouble.clone().or_else(|| state.full.clone())
    }

    /// Tests whether the database can store a new row, and remembers it for [`Db::trouble`]. A heartbeat needs no space and succeeds on a full disk.
    pub async fn probe_writes(&self) {
        let full = match self.write_and_roll_back().await {
            Ok(()) => None,
            Err(DbError::Unavailable(error) | DbError::Refused(error)) if is_storage(&error) => Some(words(&error)),
            // Another replica's probe or a backup has the table; and no connection is the heartbeat's finding.
            Err(error) => return tracing::debug!(%error, "the write probe found nothing out"),
        };
        let mut state = self.health.state();
        if state.full != full {
            if let Some(reason) = &full {
                tracing::error!(reason, "the database stores no new rows");
            } else {
                tracing::info!("the database stores new rows again");
            }
        }
        state.full = full;
    }

    /// Adds a row to an emptied table: it needs a new file and a page of it, which the rollback removes.
    async fn write_and_roll_back(&self) -> Result<(), DbError> {
        let mut tx = self.pool.begin().await?;
        sqlx::query!("LOCK TABLE write_probe IN ACCESS EXCLUSIVE MODE NOWAIT").execute(&mut *tx).await?;
        sqlx::query!("TRUNCATE write_probe").execute(&mut *tx).await?;
        sqlx::query!("INSERT INTO write_probe (probe) VALUES (1)").execute(&mut *tx).await?;
        tx.rollback().await?;
        Ok(())
    }

    /// Declares why the schema cannot be used yet; none when it can. Until then requests are answered with that reason instead of statements that fail.
    pub fn set_schema_pending(&self, reason: Option<String>) {
        self.health.state().schema_pending = reason;
    }

    /// Why the schema cannot be used yet.
    ///
    /// # Errors
    /// [`DbError::SchemaPending`].
    pub fn check_schema_pending(&self) -> Result<(), DbError> {
        self.health.state().schema_pending.clone().map_or(Ok(()), |reason| Err(DbError::SchemaPending(reason)))
    }

    /// Remembers what became of a heartbeat: none when it was written.
    ///
    /// A session that began while the database was read-only by default stays so when the default is taken back. So what was opened
    /// before the trouble was seen, and before its end was, is not used again.
    pub fn note_heartbeat(&self, trouble: Option<String>) {
        let mut state = self.health.state();
        if trouble.is_some() || state.trouble.is_some() {
            state.distrusted = Some(Instant::now());
        }
        state.trouble = trouble;
    }

    /// What is wrong with a database that was asked and has not answered.
    pub fn silence(&self) -> String {
        self.connector.cause().unwrap_or(Cause::Silent).to_string()
    }

    /// What is wrong, for people: without what only helps a programmer.
    pub fn in_words(&self, error: &DbError) -> String {
        match error {
            DbError::Unavailable(error) => words(error),
            other => other.to_string(),
        }
    }
}

/// What is wrong, with the words of the library or the server where they add something.
pub(super) fn description(error: &Error) -> String {
    let words = words(error);
    if super::connect::carried(error).is_some() { words } else { format!("{words}: {error}") }
}

/// What is wrong while the database cannot do what it was asked for.
pub fn words(error: &Error) -> String {
    if let Some(cause) = super::connect::carried(error) {
        return cause.to_string();
    }
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code).unwrap_or_default();
    let words = match &*code {
        "25006" => "the database is read-only",
        "53100" => "the database's disk is full",
        "58030" | "XX000" => "the database cannot write to its disk",
        "42501" => "the database role lacks a privilege (`panda migrate --print-app-role`)",
        code if is_not_set_up(code) => "the database schema is not migrated yet (`panda migrate`)",
        "53300" => "the database takes no more connections",
        "57P01" | "57P02" | "57P03" => "the database is stopping or starting",
        "57014" | "55P03" => "the database took too long",
        _ => "the database does not answer",
    };
    words.to_owned()
}

/// Whether a table, column, function or schema does not exist, or the role may not use it: an operator has a step left to do.
pub(super) fn is_not_set_up(code: &str) -> bool {
    ["42P01", "42703", "42883", "3F000", "42501"].contains(&code)
}

/// The disk is full, broken, or its quota is used up, for which Postgres has no code.
fn is_storage(error: &Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| ["53100", "58030", "XX000"].contains(&&*code))
}
