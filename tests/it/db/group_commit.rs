//! Commits that share a statement: each is answered as if it were alone.

use serde_json::json;
use std::collections::HashSet;

use futures_util::future::join_all;
use panda::db::commit::{Change, Committed};
use panda::db::{Db, DbError};
use panda::domain::catalogue::EventCode;
use panda::domain::event::Event;
use panda::domain::{Deployment, Facts};
use sqlx::{Executor, PgConnection};
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::{claim, new_deployment, replica};
use crate::support::db::{TestDb, through};
use crate::support::postgres_proxy::PostgresProxy;
use crate::support::wait_for;

/// More statements than any pool of commits runs concurrently.
const BLOCKERS: usize = 6;

const DONE: Committed = Committed::Done { new_events: 1 };

/// Creates `count` deployments owned by `me`.
async fn owned(db: &Db, me: Uuid, count: usize) -> Vec<Deployment> {
    for _ in 0..count {
        new_deployment(db).await;
    }
    let limit = i64::try_from(count).unwrap();
    let ids = claim(db, me, limit, limit).await;
    db.load_owned(me, &ids).await.unwrap()
}

fn line(n: usize) -> Change {
    let event = Event::new(EventCode::BuildProgress).with("message", format!("line {n}")).keyed(n);
    Change { events: vec![event], ..Change::default() }
}

type Commit = JoinHandle<(Deployment, Result<Committed, DbError>)>;

fn start(db: &Db, me: Uuid, mut row: Deployment, change: Change) -> Commit {
    let db = db.clone();
    tokio::spawn(async move {
        let committed = db.commit(&mut row, me, change).await;
        (row, committed)
    })
}

/// Statements that are blocked because `held` locks their rows.
struct Blocked {
    held: PgConnection,
    watch: PgConnection,
    commits: Vec<Commit>,
}

impl Blocked {
    /// Blocks every concurrent statement, so that further commits wait for the next statement.
    async fn all(test: &TestDb, db: &Db, me: Uuid, rows: Vec<Deployment>) -> Self {
        let mut blocked = Self::on(test, &rows).await;
        blocked.commits = rows.into_iter().map(|row| start(db, me, row, line(0))).collect();
        blocked.reached(2).await;
        blocked
    }

    async fn on(test: &TestDb, rows: &[Deployment]) -> Self {
        let (mut held, watch) = (test.psql().await, test.psql().await);
        held.execute("BEGIN").await.unwrap();
        let ids: Vec<&str> = rows.iter().map(|row| row.id.as_str()).collect();
        let sql = "SELECT id FROM deployments WHERE id = ANY ($1) FOR UPDATE";
        sqlx::query(sql).bind(ids).execute(&mut held).await.unwrap();
        Self { held, watch, commits: Vec::new() }
    }

    /// Waits until `count` statements wait for these rows.
    async fn reached(&mut self, count: i64) {
        let holder: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut self.held).await.unwrap();
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE $1 = ANY (pg_blocking_pids(pid))";
        wait_for("statements wait for the rows", async || {
            let waiting: i64 = sqlx::query_scalar(sql).bind(holder).fetch_one(&mut self.watch).await.unwrap();
            waiting >= count
        })
        .await;
    }

    async fn unlock(&mut self) {
        self.held.execute("COMMIT").await.unwrap();
    }

    /// Unlocks the rows and checks that the commits succeed.
    async fn release(mut self) {
        self.unlock().await;
        done(self.commits).await;
    }
}

async fn done(commits: Vec<Commit>) {
    for commit in join_all(commits).await {
        assert_eq!(commit.unwrap().1.unwrap(), DONE);
    }
}

/// The transactions that last wrote these rows.
async fn transactions(test: &TestDb, ids: &[String]) -> HashSet<String> {
    let sql = "SELECT xmin::text FROM deployments WHERE id = ANY ($1)";
    sqlx::query_scalar(sql).bind(ids).fetch_all(&mut test.psql().await).await.unwrap().into_iter().collect()
}

async fn emitted(db: &Db, id: &str) -> Vec<(i64, String)> {
    let events = db.events_after(id, 0, 100).await.unwrap();
    events.into_iter().map(|event| (event.seq, event.params["message"].as_str().unwrap().to_owned())).collect()
}

#[tokio::test]
async fn group_commit__concurrent_commits_share_statements() {
    let test = TestDb::new().await;
    let db = &test.db;
    let me = replica(db).await;
    let mut rows = owned(db, me, 150).await;
    let commits = rows.iter_mut().enumerate().map(|(n, row)| async move {
        let facts = Facts { commit_sha: (n % 2 == 0).then(|| format!("sha {n}")), ..Facts::default() };
        let events = [n, n + 1].into_iter().flat_map(|n| line(n).events).collect();
        db.commit(row, me, Change { facts, events, ..Change::default() }).await.unwrap()
    });
    assert!(join_all(commits).await.iter().all(|done| *done == Committed::Done { new_events: 2 }));
    let ids: Vec<String> = rows.iter().map(|row| row.id.clone()).collect();
    assert!(transactions(&test, &ids).await.len() <= 10, "150 commits are few statements");
    let read = db.load_owned(me, &ids).await.unwrap();
    for (n, row) in rows.iter().enumerate() {
        let stored = read.iter().find(|stored| stored.id == row.id).unwrap();
        assert_eq!((stored.version, &stored.facts), (row.version, &row.facts));
        assert_eq!(emitted(db, &row.id).await, [(1, format!("line {n}")), (2, format!("line {}", n + 1))]);
    }
}

#[tokio::test]
async fn group_commit__lost_row_reported_to_its_owner_only() {
    let test = TestDb::new().await;
    let db = &test.db;
    let me = replica(db).await;
    let mut rows = owned(db, me, BLOCKERS + 3).await;
    let mut others = rows.split_off(BLOCKERS);
    others[1].version -= 1;
    let blocked = Blocked::all(&test, db, me, rows).await;
    let ids: Vec<String> = [&others[0], &others[2]].map(|row| row.id.clone()).into();
    let lost = others[1].id.clone();
    let commits: Vec<Commit> = others.into_iter().map(|row| start(db, me, row, line(1))).collect();
    blocked.release().await;
    let answers: Vec<Committed> =
        join_all(commits).await.into_iter().map(|answer| answer.unwrap().1.unwrap()).collect();
    assert_eq!(answers, [DONE, Committed::OwnershipLost, DONE]);
    assert_eq!(transactions(&test, &ids).await.len(), 1, "they were one statement");
    assert!(emitted(db, &lost).await.is_empty());
}

#[tokio::test]
async fn group_commit__invalid_value_fails_its_commit_only() {
    let test = TestDb::new().await;
    let db = &test.db;
    let me = replica(db).await;
    let mut rows = owned(db, me, BLOCKERS + 4).await;
    let others = rows.split_off(BLOCKERS);
    let blocked = Blocked::all(&test, db, me, rows).await;
    let ids: Vec<String> = others.iter().map(|row| row.id.clone()).collect();
    let changes = [
        line(1),
        Change { facts: Facts { final_service: Some("purple".into()), ..Facts::default() }, ..line(1) },
        line(1),
        Change { step: Some(("a\0b".to_owned(), json!({}))), ..line(1) },
    ];
    let commits: Vec<Commit> =
        others.into_iter().zip(changes).map(|(row, change)| start(db, me, row, change)).collect();
    blocked.release().await;
    for (n, answer) in join_all(commits).await.into_iter().enumerate() {
        let (row, answer) = answer.unwrap();
        let read = db.load_owned(me, &ids[n..=n]).await.unwrap().pop().unwrap();
        assert_eq!(row.version, read.version, "the copy in memory matches the row");
        if n % 2 == 0 {
            assert_eq!(answer.unwrap(), DONE);
            assert_eq!(emitted(db, &ids[n]).await, [(1, "line 1".to_owned())]);
        } else {
            assert!(matches!(answer, Err(DbError::Refused(_))), "{answer:?}");
            assert!(emitted(db, &ids[n]).await.is_empty());
        }
    }
}

#[tokio::test]
async fn group_commit__one_deployment_never_shares_a_statement() {
    let test = TestDb::new().await;
    let db = &test.db;
    let me = replica(db).await;
    let mut row = owned(db, me, 1).await.remove(0);
    // All name the version that was read, so exactly one succeeds.
    let twins = join_all((1..=5).map(|n| start(db, me, row.clone(), line(n)))).await;
    let done = twins.iter().filter(|twin| matches!(&twin.as_ref().unwrap().1, Ok(done) if *done == DONE)).count();
    let lost = twins.iter().filter(|twin| matches!(twin.as_ref().unwrap().1, Ok(Committed::OwnershipLost))).count();
    assert_eq!((done, lost), (1, 4));
    row = db.load_owned(me, &[row.id]).await.unwrap().remove(0);
    for n in 10..15 {
        assert_eq!(db.commit(&mut row, me, line(n)).await.unwrap(), DONE);
    }
    let seqs: Vec<i64> = emitted(db, &row.id).await.into_iter().map(|(seq, _)| seq).collect();
    assert_eq!(seqs, [1, 2, 3, 4, 5, 6]);
}

#[tokio::test]
async fn group_commit__dropped_caller_does_not_affect_others() {
    let test = TestDb::new().await;
    let db = &test.db;
    let me = replica(db).await;
    let mut rows = owned(db, me, BLOCKERS + 4).await;
    let mut others = rows.split_off(BLOCKERS);
    let queued = others.pop().unwrap();
    let ids: Vec<String> = others.iter().map(|row| row.id.clone()).collect();
    let waiting = queued.id.clone();

    // A caller is dropped while its commit is still queued: nothing was sent and nothing happens.
    let mut blocked = Blocked::all(&test, db, me, rows).await;
    let gone = start(db, me, queued, line(1));
    tokio::task::yield_now().await;
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    // Three commits in a running statement; one of their callers is dropped.
    let mut held = Blocked::on(&test, &others).await;
    let mut commits: Vec<Commit> = others.into_iter().map(|row| start(db, me, row, line(1))).collect();
    tokio::task::yield_now().await;
    blocked.unlock().await;
    held.reached(1).await;
    let away = commits.remove(1);
    away.abort();
    assert!(away.await.unwrap_err().is_cancelled());
    held.unlock().await;
    done(commits).await;
    done(blocked.commits).await;
    assert!(emitted(db, &waiting).await.is_empty(), "it was not sent");
    // The running commit took effect once without its caller.
    wait_for("the commit under way happened", async || emitted(db, &ids[1]).await.len() == 1).await;
    let mut read = db.load_owned(me, &ids[1..2]).await.unwrap().remove(0);
    assert_eq!(db.commit(&mut read, me, line(1)).await.unwrap(), Committed::Done { new_events: 0 });
}

#[tokio::test]
async fn group_commit__lost_answer_fails_the_batch_without_resend() {
    let test = TestDb::new().await;
    let proxy = PostgresProxy::before(&test, true).await;
    let behind = through(&proxy, &test);
    let me = replica(&test.db).await;
    let mut rows = owned(&test.db, me, BLOCKERS + 3).await;
    let others = rows.split_off(BLOCKERS);
    let ids: Vec<String> = others.iter().map(|row| row.id.clone()).collect();
    let mut blocked = Blocked::on(&test, &rows).await;
    let first: Vec<Commit> = rows.into_iter().map(|row| start(&behind, me, row, line(0))).collect();
    blocked.reached(2).await;
    proxy.set(false);
    for answer in join_all(first).await {
        assert!(matches!(answer.unwrap().1, Err(DbError::Unavailable(_))));
    }
    proxy.set(true);
    blocked.release().await;
    let after = join_all(others.into_iter().map(|row| start(&behind, me, row, line(1)))).await;
    for (id, answer) in ids.iter().zip(after) {
        let (_, answer) = answer.unwrap();
        // One of the commits may meet another connection of the pool that was cut as well.
        if let Ok(done) = answer {
            assert_eq!(done, DONE);
            assert_eq!(emitted(&test.db, id).await.len(), 1);
        }
    }
    let all = test.db.owned_ids(me).await.unwrap();
    for row in test.db.load_owned(me, &all).await.unwrap() {
        let emitted = emitted(&test.db, &row.id).await;
        assert!(emitted.len() <= 1, "{emitted:?}");
    }
}
