//! Commits that are made at the same time share a statement, and so a flush of the WAL.
//!
//! There is no timer: a commit that finds a statement free goes at once, alone. While all are under way the others wait, and the next
//! statement takes them together. Each caller is answered for its own deployment:
//!
//! - The statement does not return a deployment: its row is another's. The others' commits happened.
//! - Postgres refuses a value of one of them: the statement has changed nothing, so each is tried once more by itself, and only the
//!   one that is at fault is refused.
//! - Any other error, a lost answer above all, is everybody's: each may have happened or not, and nothing is sent again.
//!
//! A caller that goes away before its turn is left out; later, its commit happens without it, like any statement whose answer is
//! not awaited. `docs/decisions/0010-group-commit.md`.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::{Change, Row, statement};
use crate::db::DbError;
use crate::db::pool::Pool;

/// Statements under way at once. One prepares what the other's flush leaves idle; more only make the groups smaller.
const STATEMENTS: usize = 2;

/// Commits of one statement.
const MOST_COMMITS: usize = 100;

/// Events of one statement, unless a single commit has more.
const MOST_EVENTS: usize = 1_000;

/// How long a statement may take, connection included. Postgres itself gives up before (`statement_timeout`): this is for an answer
/// that will not come, because the network has swallowed the connection. Without it, that would hold up everybody's commits.
const LIMIT: Duration = Duration::from_secs(20);

/// What became of one commit: the change with the number of its new events, or none when the row was another's.
type Answer = Result<Option<Kept>, DbError>;

/// A commit that happened.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) change: Change,
    pub(super) new_events: i64,
}

/// The commits of one pool.
#[derive(Debug)]
pub(in crate::db) struct Group {
    pool: Pool,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Pending>,
    /// Deployments with a commit under way: the next one of the same deployment waits for its end.
    under_way: HashSet<String>,
    statements: usize,
}

#[derive(Debug)]
struct Pending {
    row: Row,
    answer: oneshot::Sender<Answer>,
}

impl Group {
    pub(in crate::db) fn new(pool: Pool) -> Self {
        Self { pool, queue: Mutex::default() }
    }

    /// Commits `row` with whatever else is there.
    pub(super) async fn commit(self: &Arc<Self>, row: Row) -> Answer {
        let (answer, answered) = oneshot::channel();
        self.queue().waiting.push_back(Pending { row, answer });
        self.start();
        // The sender is gone when the statement's task panicked or the runtime ends.
        answered.await.unwrap_or_else(|_| Err(sqlx::Error::WorkerCrashed.into()))
    }

    /// Starts as many statements as may be under way and have something to do.
    fn start(self: &Arc<Self>) {
        // None when the runtime is ending: the callers end with it.
        let Ok(runtime) = Handle::try_current() else { return };
        loop {
            // The lock is not held while spawning: a runtime that ends drops the task at once, which takes the lock again.
            let Some(batch) = self.queue().next() else { return };
            let ids = batch.iter().map(|pending| pending.row.id.clone()).collect();
            let turn = Turn { group: Arc::clone(self), ids };
            runtime.spawn(async move { turn.run(batch).await });
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// The next statement's commits, in the order in which they came; none when no statement is free or there is nothing to do.
    fn next(&mut self) -> Option<Vec<Pending>> {
        if self.statements >= STATEMENTS {
            return None;
        }
        let (mut batch, mut left, mut events) = (Vec::new(), VecDeque::new(), 0);
        while let Some(pending) = self.waiting.pop_front() {
            if pending.answer.is_closed() {
                continue;
            }
            let told = pending.row.told.len();
            if !batch.is_empty() && (batch.len() >= MOST_COMMITS || events + told > MOST_EVENTS) {
                left.push_back(pending);
                break;
            }
            if self.under_way.contains(&pending.row.id) {
                left.push_back(pending);
                continue;
            }
            self.under_way.insert(pending.row.id.clone());
            events += told;
            batch.push(pending);
        }
        while let Some(pending) = left.pop_back() {
            self.waiting.push_front(pending);
        }
        if batch.is_empty() {
            return None;
        }
        self.statements += 1;
        // Statements meet their rows in one order.
        batch.sort_unstable_by(|a, b| a.row.id.cmp(&b.row.id));
        Some(batch)
    }
}

/// A statement's turn; its end, whichever it is, lets the next one start.
struct Turn {
    group: Arc<Group>,
    ids: Vec<String>,
}

impl Turn {
    async fn run(self, batch: Vec<Pending>) {
        let (rows, mut answers): (Vec<Row>, Vec<_>) =
            batch.into_iter().map(|pending| (pending.row, pending.answer)).unzip();
        let done = tokio::select! {
            done = self.send(&rows) => done,
            () = nobody_waits(&mut answers) => return,
        };
        match done {
            Ok(matched) => {
                for (row, answer) in rows.into_iter().zip(answers) {
                    let kept = matched.get(&row.id).map(|&new_events| Kept { change: row.change, new_events });
                    // Nobody there: the commit happened without its caller.
                    let _ = answer.send(Ok(kept));
                }
            }
            Err(error) if rows.len() > 1 && is_of_one_row(&error) => {
                tracing::debug!(%error, commits = rows.len(), "a group of commits was refused; each is tried by itself");
                self.one_by_one(rows, answers).await;
            }
            Err(error) => fail(answers, &Arc::new(error)),
        }
    }

    /// After a refusal, which changed nothing.
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
                    let kept = matched.get(&id).map(|&new_events| Kept { change: row.change, new_events });
                    let _ = answer.send(Ok(kept));
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
        match tokio::time::timeout(LIMIT, statement::commit(&self.group.pool, rows)).await {
            Ok(done) => done,
            Err(_) => Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        {
            let mut queue = self.group.queue();
            queue.statements -= 1;
            for id in &self.ids {
                queue.under_way.remove(id);
            }
        }
        self.group.start();
    }
}

/// Ends when every caller has gone: what they gave up is given up here, as a statement of their own would be.
async fn nobody_waits(answers: &mut [oneshot::Sender<Answer>]) {
    for answer in answers {
        answer.closed().await;
    }
}

/// Whether a value of some row is at fault: it cannot be sent, or Postgres refused it (22 data, 23 constraints, 54 limits).
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
