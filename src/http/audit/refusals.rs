//! Refusals on their way to the audit: the first of a kind at once, how often it was repeated a minute later.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::db::{Db, DbError};
use crate::domain::refusals::{Refusal, Tally, WINDOW, Window};

/// Rows that wait for a database that is away; the oldest beyond are dropped.
const MOST_WAITING: usize = 1_000;

/// See the module: cheap to clone. What is not written yet is lost with the process, at most a minute's repetitions.
#[derive(Clone, Debug)]
pub(in crate::http) struct Refusals {
    db: Db,
    window: Arc<Mutex<Window>>,
    shutdown: CancellationToken,
}

impl Refusals {
    /// Writes what was counted each minute, and at `shutdown`.
    pub(in crate::http) fn start(db: Db, shutdown: CancellationToken) -> Self {
        let refusals = Self { db, window: Arc::default(), shutdown };
        tokio::spawn(refusals.clone().run());
        refusals
    }

    /// Keeps a refusal. A database that is away does not change the answer.
    pub(super) async fn keep(&self, refusal: Refusal) {
        // Counts that are added after the end are not written.
        let counts = !self.shutdown.is_cancelled();
        let row = if counts { self.window().add(refusal, Instant::now()) } else { Some(refusal) };
        let Some(row) = row else { return };
        let at = Instant::now();
        let tally = Tally { last: row, several_callers: false, times: 1, first_at: at, last_at: at };
        if let Err(error) = self.db.record_refusals(std::slice::from_ref(&tally)).await {
            warn(&error);
        }
    }

    async fn run(self) {
        let mut ticks = tokio::time::interval(WINDOW);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut waiting = Vec::new();
        while !self.shutdown.is_cancelled() {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.shutdown.cancelled() => {}
            }
            waiting.extend(self.window().take());
            if waiting.is_empty() {
                continue;
            }
            match self.db.record_refusals(&waiting).await {
                Ok(()) => waiting.clear(),
                Err(error) => {
                    warn(&error);
                    let dropped = waiting.len().saturating_sub(MOST_WAITING);
                    if dropped > 0 {
                        tracing::warn!(dropped, "rows of repeated refusals dropped, the database is unavailable");
                    }
                    waiting.drain(..dropped);
                }
            }
        }
    }

    fn window(&self) -> MutexGuard<'_, Window> {
        // Counts are consistent whenever the lock is free.
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn warn(error: &DbError) {
    if error.is_unavailable() {
        tracing::warn!(%error, "refusals could not be kept");
    } else {
        tracing::error!(%error, "refusals could not be kept");
    }
}
