//! A process that is killed in the middle of a run, or shut down.

use std::os::unix::process::ExitStatusExt;

use nix::sys::signal::Signal;
use panda::domain::maintenance::RetentionKind;
use serde_json::{Value, json};

use super::{Keeper, age, codes};
use crate::http::Fixture;
use crate::support::db::{TestDb, through};
use crate::support::process::Serve;
use crate::support::wait_for;

const LINES: u32 = 9_000;

/// A finished deployment with enough lines for five batches.
async fn long(db: &TestDb) -> Fixture {
    let mut fixture = Fixture::begin(&db.db).await;
    for begin in (1..=LINES).step_by(1_000) {
        fixture.build_lines(begin, begin + 999).await;
    }
    fixture.complete().await;
    age(db, fixture.id(), 31).await;
    fixture
}

async fn ask(server: &Serve) {
    let body = json!({"kind": "build_lines"});
    let answer = reqwest::Client::new()
        .post(format!("{}/api/v1/maintenance/runs", server.url))
        .json(&body)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
}

/// State and count of each run, oldest first.
async fn runs(keeper: &Keeper) -> Vec<(String, i64)> {
    keeper.runs().await.into_iter().rev().map(|run| (run.state, run.removed)).collect()
}

async fn is_whole(db: &TestDb, fixture: &Fixture) {
    assert_eq!(codes(db, fixture.id()).await, ["deployment_completed", "completed"]);
}

#[tokio::test]
async fn retention_crash__kill_in_batch_resumed_by_next_run() {
    for (point, committed) in [("maintenance commit/before", 3), ("maintenance batch/after", 4)] {
        let db = TestDb::new().await;
        let fixture = long(&db).await;
        let keeper = Keeper::of(&db.db, RetentionKind::BuildLines, "30d");
        let dies = format!("replica/{point}=3*off->return");
        let mut dying = Serve::on(&db, &[], &[("FAILPOINTS", &dies)]);
        dying.ready().await;
        ask(&dying).await;
        assert_eq!(dying.wait().await.signal(), Some(Signal::SIGKILL as i32), "{point}: {}", dying.log());
        let removed = committed * 2_000;
        assert_eq!(runs(&keeper).await, [("running".to_owned(), removed)], "{point}");
        let left = usize::try_from(i64::from(LINES) - removed).unwrap() + 2;
        assert_eq!(codes(&db, fixture.id()).await.len(), left, "{point}: exactly the counted rows are gone");

        let next = Serve::on(&db, &[], &[]);
        next.ready().await;
        ask(&next).await;
        // As if two minutes had passed since its last heartbeat.
        sqlx::query(
            "UPDATE maintenance_runs SET renewed_at = renewed_at - interval '2 minutes' WHERE state = 'running'",
        )
        .execute(&mut db.psql().await)
        .await
        .unwrap();
        wait_for("the next run ended", async || runs(&keeper).await[1].0 == "done").await;
        let rest = i64::from(LINES) - removed;
        assert_eq!(runs(&keeper).await, [("interrupted".to_owned(), removed), ("done".to_owned(), rest)], "{point}");
        is_whole(&db, &fixture).await;
    }
}

#[tokio::test]
async fn retention_crash__shutdown_stops_between_batches() {
    let db = TestDb::new().await;
    let fixture = long(&db).await;
    let keeper = Keeper::of(&db.db, RetentionKind::BuildLines, "30d");
    let mut leaving = Serve::on(&db, &[], &[("FAILPOINTS", "replica/maintenance commit/before=sleep(300)")]);
    leaving.ready().await;
    ask(&leaving).await;
    wait_for("some batches are done", async || runs(&keeper).await[0].1 >= 4_000).await;
    leaving.signal(Signal::SIGTERM);
    assert!(leaving.wait().await.success(), "{}", leaving.log());
    let stopped = runs(&keeper).await;
    assert_eq!(stopped[0].0, "stopped");
    assert!(stopped[0].1 < i64::from(LINES), "{stopped:?}");
    assert_eq!(codes(&db, fixture.id()).await.len(), usize::try_from(i64::from(LINES) - stopped[0].1).unwrap() + 2);
    let run = keeper.tick(1).await;
    assert_eq!((run.state.as_str(), run.removed), ("done", i64::from(LINES) - stopped[0].1));
    is_whole(&db, &fixture).await;
}

#[tokio::test]
async fn retention_crash__database_outage_only_delays() {
    let db = TestDb::new().await;
    let fixture = long(&db).await;
    let proxy = crate::support::postgres_proxy::PostgresProxy::before(&db, true).await;
    let keeper = Keeper::of(&through(&proxy, &db), RetentionKind::BuildLines, "30d");
    let watched = Keeper::of(&db.db, RetentionKind::BuildLines, "30d");
    keeper.maintenance.begin_due(chrono::Utc::now() + chrono::TimeDelta::minutes(1)).await;
    wait_for("the run removes rows", async || runs(&watched).await.first().is_some_and(|run| run.1 > 0)).await;
    proxy.cut();
    wait_for("the run ended", async || runs(&watched).await[0].0 != "running").await;
    assert_eq!(runs(&watched).await, [("done".to_owned(), i64::from(LINES))]);
    is_whole(&db, &fixture).await;
    let value: Value = json!(watched.runs().await[0].error);
    assert_eq!(value, Value::Null);
}
