//! Group commit: concurrent commits share a statement, and so a flush of the WAL.
//!
//! There is no timer. A commit that finds a free statement is sent immediately, alone. While all statements are in flight, further commits queue up,
//! and the next statement takes them together. Each caller gets the answer for its own deployment:
//!
//! - The statement does not return a deployment: another replica owns its row. The commits of the others were applied.
//! - Postgres refuses a value of one row: the statement has changed nothing, so each commit is retried alone, and only the faulty one is refused.
//! - Any other error, above all a lost answer, goes to every caller: each commit may or may not have been applied, and nothing is sent again.
//!
//! A caller that is cancelled while its commit is queued is left out. Afterwards its commit is applied without it, like any statement whose answer is
//! not awaited. See `docs/decisions/0010-group-commit.md`.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::{Change, Row, statement};
use crate::db::DbError;
use crate::db::pool::Pool;

/// Concurrent statements. The second one is prepared while the first waits for its flush; more would only make the groups smaller.
const MAX_IN_FLIGHT: usize = 2;

/// Maximum commits in one statement.
const MAX_COMMITS: usize = 100;

/// Maximum events in one statement, unless a single commit has more.
const MAX_EVENTS: usize = 1_000;

/// Time limit of a statement, connecting included. Postgres cancels it earlier (`statement_timeout`); this limit covers a connection that the network
/// silently drops, whose missing answer would block every later commit.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(20);

/// Outcome of one commit: the change with its number of new events, or none when another replica owns the row.
type Answer = Result<Option<AppliedCommit>, DbError>;

/// A commit that was applied.
#[derive(Debug)]
pub(super) struct AppliedCommit {
    pub(super) change: Change,
    pub(super) new_events: i64,
}

/// Queue of commits for one pool.
#[derive(Debug)]
pub(in crate::db) struct GroupCommit {
    pool: Pool,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Pending>,
    /// Deployments with a commit in flight: the next commit of the same deployment waits for it to end.
    in_flight: HashSet<String>,
    statements: usize,
}

#[derive(Debug)]
struct Pending {
    row: Row,
    answer: oneshot::Sender<Answer>,
}

impl GroupCommit {
    pub(in crate::db) fn new(pool: Pool) -> Self {
        Self { pool, queue: Mutex::default() }
    }

    /// Commits `row`, together with other rows that are queued.
    pub(super) async fn commit(self: &Arc<Self>, row: Row) -> Answer {
        let (answer, answered) = oneshot::channel();
        self.queue().waiting.push_back(Pending { row, answer });
        self.start();
        // The sender was dropped: the statement's task panicked, or the runtime is shutting down.
        answered.await.unwrap_or_else(|_| Err(sqlx::Error::WorkerCrashed.into()))
    }

    /// Sends queued commits until all statements are in flight or the queue is empty.
    fn start(self: &Arc<Self>) {
        // No runtime means shutdown: the callers end with it.
        let Ok(runtime) = Handle::try_current() else { return };
        loop {
            // The lock is released before spawning: a runtime that shuts down drops the task immediately, and the drop takes the lock again.
            let Some(batch) = self.queue().next() else { return };
            let ids = batch.iter().map(|pending| pending.row.id.clone()).collect();
            let in_flight = InFlightBatch { group: Arc::clone(self), ids };
            runtime.spawn(async move { in_flight.run(batch).await });
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock()
    }
}

impl Queue {
    /// Takes the commits of the next statement from the queue, in order of arrival; none when no statement is free or the queue is empty.
    fn next(&mut self) -> Option<Vec<Pending>> {
        if self.statements >= MAX_IN_FLIGHT {
            return None;
        }
        let (mut batch, mut left, mut events) = (Vec::new(), VecDeque::new(), 0);
        while let Some(pending) = self.waiting.pop_front() {
            if pending.answer.is_closed() {
                continue;
            }
            let new_events = pending.row.events.len();
            if !batch.is_empty() && (batch.len() >= MAX_COMMITS || events + new_events > MAX_EVENTS) {
                left.push_back(pending);
                break;
            }
            if self.in_flight.contains(&pending.row.id) {
                left.push_back(pending);
                continue;
            }
            self.in_flight.insert(pending.row.id.clone());
            events += new_events;
            batch.push(pending);
        }
        while let Some(pending) = left.pop_back() {
            self.waiting.push_front(pending);
        }
        if batch.is_empty() {
            return None;
        }
        self.statements += 1;
        // Every statement locks its rows in the same order.
        batch.sort_unstable_by(|a, b| a.row.id.cmp(&b.row.id));
        Some(batch)
    }
}

/// A statement in flight. Dropping it, on success, error or panic, starts the next statement.
struct InFlightBatch {
    group: Arc<GroupCommit>,
    ids: Vec<String>,
}

impl InFlightBatch {
    async fn run(self, batch: Vec<Pending>) {
        let (rows, mut answers): (Vec<Row>, Vec<_>) =
            batch.into_iter().map(|pending| (pending.row, pending.answer)).unzip();
        let done = tokio::select! {
            done = self.send(&rows) => done,
            () = all_callers_gone(&mut answers) => return,
        };
        match done {
            Ok(matched) => {
                for (row, answer) in rows.into_iter().zip(answers) {
                    let applied =
                        matched.get(&row.id).map(|&new_events| AppliedCommit { change: row.change, new_events });
                    // A closed receiver is fine: the caller left, and the commit was applied without it.
                    let _ = answer.send(Ok(applied));
                }
            }
            Err(error) if rows.len() > 1 && is_of_one_row(&error) => {
                tracing::debug!(%error, commits = rows.len(), "group of commits refused, retrying each commit alone");
                self.one_by_one(rows, answers).await;
            }
            Err(error) => fail(answers, &Arc::new(error)),
        }
    }

    /// Sends each row alone, after a refusal that changed nothing.
    async fn one_by_one(&self, rows: Vec<Row>, mut answers: Vec<oneshot::Sender<Answer>>) {
        answers.reverse();
        for row in rows {
            let Some(mut answer) = answers.pop() else { return };
            let id = row.id.clone();
            let row = [row];
            let done = tokio::select! {
                done = self.send(&row) => done,
                () = answer.closed() => continue,
            };
            let [row] = row;
            match done {
                Ok(matched) => {
                    let applied = matched.get(&id).map(|&new_events| AppliedCommit { change: row.change, new_events });
                    let _ = answer.send(Ok(applied));
                }
                Err(error) => {
                    let error = Arc::new(error);
                    fail([answer], &error);
                    if DbError::from(Arc::clone(&error)).is_unavailable() {
                        return fail(answers, &error);
                    }
                }
            }
        }
    }

    async fn send(&self, rows: &[Row]) -> Result<HashMap<String, i64>, sqlx::Error> {
        match tokio::time::timeout(STATEMENT_TIMEOUT, statement::commit(&self.group.pool, rows)).await {
            Ok(done) => done,
            Err(_) => Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
        }
    }
}

impl Drop for InFlightBatch {
    fn drop(&mut self) {
        {
            let mut queue = self.group.queue();
            queue.statements -= 1;
            for id in &self.ids {
                queue.in_flight.remove(id);
            }
        }
        self.group.start();
    }
}

/// Resolves when every caller has gone: the batch is then abandoned, as a caller's own statement would be.
async fn all_callers_gone(answers: &mut [oneshot::Sender<Answer>]) {
    for answer in answers {
        answer.closed().await;
    }
}

/// Reports that a value of some row is at fault: it cannot be encoded, or Postgres refused it (22 data, 23 constraints, 54 limits).
fn is_of_one_row(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Encode(_) => true,
        sqlx::Error::Database(refused) => {
            let code = refused.code().unwrap_or_default();
            ["22", "23", "54"].iter().any(|class| code.starts_with(class))
        }
        _ => false,
    }
}

fn fail(answers: impl IntoIterator<Item = oneshot::Sender<Answer>>, error: &Arc<sqlx::Error>) {
    for answer in answers {
        let _ = answer.send(Err(Arc::clone(error).into()));
    }
}
