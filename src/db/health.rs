//! Whether the database takes writes, as the heartbeat last saw it; and what is wrong with it, in words for whoever asks.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sqlx::Error;

use super::{Db, DbError};

/// Shared by all clones of a [`Db`].
#[derive(Debug, Default)]
pub(super) struct Health(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// What keeps the database from taking writes.
    trouble: Option<String>,
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
    /// Connections of the pool: used, idle.
    pub fn connections(&self) -> (usize, usize) {
        let (all, idle) = (self.pool.size() as usize, self.pool.num_idle());
        (all.saturating_sub(idle), idle)
    }

    /// What keeps the database from taking writes, in words. None when the last heartbeat was written, or none was tried yet.
    pub fn trouble(&self) -> Option<String> {
        self.health.state().trouble.clone()
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

    /// What is wrong, for people: without what only helps a programmer.
    pub fn in_words(&self, error: &DbError) -> String {
        match error {
            DbError::Unavailable(error) if matches!(**error, Error::PoolTimedOut) => {
                let most = self.pool.options().get_max_connections();
                // Connecting to a server that is away takes its time too, but not on all of them.
                if self.pool.size() >= most && self.pool.num_idle() == 0 {
                    format!("all {most} connections to the database are in use")
                } else {
                    "the database does not answer".to_owned()
                }
            }
            DbError::Unavailable(error) => words(error).to_owned(),
            other => other.to_string(),
        }
    }
}

/// What is wrong while the database cannot do what it was asked for.
pub fn words(error: &Error) -> &'static str {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code).unwrap_or_default();
    match &*code {
        "25006" => "the database is read-only",
        "53100" => "the database's disk is full",
        "53300" => "the database takes no more connections",
        "57P01" | "57P02" | "57P03" => "the database is stopping or starting",
        "57014" | "55P03" => "the database took too long",
        _ => "the database does not answer",
    }
}
