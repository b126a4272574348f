//! A process that dies in the middle of a run, or is told to end.

use std::os::unix::process::ExitStatusExt;

use nix::sys::signal::Signal;
use panda::domain::maintenance::Kind;
use serde_json::{Value, json};

use super::{Keeper, age, codes};
use crate::http::Story;
use crate::support::db::TestDb;
use crate::support::process::Serve;
use crate::support::wait_for;

const LINES: u32 = 9_000;

/// A finished deployment of as many lines as a run needs five batches for.
async fn long(db: &TestDb) -> Story {
    let mut story = Story::begin(&db.db).await;
    for begin in (1..=LINES).step_by(1_000) {
        story.build_lines(begin, begin + 999).await;
    }
    story.complete().await;
    age(db, story.id(), 31).await;
    story
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

/// State and count of each run, the first one first.
async fn runs(keeper: &Keeper) -> Vec<(String, i64)> {
    keeper.runs().await.into_iter().rev().map(|run| (run.state, run.removed)).collect()
}

async fn is_whole(db: &TestDb, story: &Story) {
    assert_eq!(codes(db, story.id()).await, ["deployment_completed", "completed"]);
}

#[tokio::test]
async fn a_process_that_is_killed_in_a_batch_loses_nothing_and_the_next_run_goes_on() {
    for (point, committed) in [("maintenance commit/before", 3), ("maintenance batch/after", 4)] {
        let db = TestDb::new().await;
        let story = long(&db).await;
        let keeper = Keeper::of(&db.db, Kind::BuildLines, "30d");
        let dies = format!("replica/{point}=3*off->return");
        let mut dying = Serve::on(&db, &[], &[("FAILPOINTS", &dies)]);
        dying.ready().await;
        ask(&dying).await;
        assert_eq!(dying.wait().await.signal(), Some(Signal::SIGKILL as i32), "{point}: {}", dying.log());
        let removed = committed * 2_000;
        assert_eq!(runs(&keeper).await, [("running".to_owned(), removed)], "{point}");
        let left = usize::try_from(i64::from(LINES) - removed).unwrap() + 2;
        assert_eq!(codes(&db, story.id()).await.len(), left, "{point}: what is counted is gone, and nothing else");

        let next = Serve::on(&db, &[], &[]);
        next.ready().await;
        ask(&next).await;
        // As if two minutes had passed since its last sign of life.
        sqlx::query(
            "UPDATE maintenance_runs SET renewed_at = renewed_at - interval '2 minutes' WHERE state = 'running'",
        )
        .execute(&mut db.psql().await)
        .await
        .unwrap();
        wait_for("the next run ended", async || runs(&keeper).await[1].0 == "done").await;
        let rest = i64::from(LINES) - removed;
        assert_eq!(runs(&keeper).await, [("interrupted".to_owned(), removed), ("done".to_owned(), rest)], "{point}");
        is_whole(&db, &story).await;
    }
}

#[tokio::test]
async fn a_process_that_is_told_to_end_stops_between_batches_and_says_so() {
    let db = TestDb::new().await;
    let story = long(&db).await;
    let keeper = Keeper::of(&db.db, Kind::BuildLines, "30d");
    let mut leaving = Serve::on(&db, &[], &[("FAILPOINTS", "replica/maintenance commit/before=sleep(300)")]);
    leaving.ready().await;
    ask(&leaving).await;
    wait_for("some batches are done", async || runs(&keeper).await[0].1 >= 4_000).await;
    leaving.signal(Signal::SIGTERM);
    assert!(leaving.wait().await.success(), "{}", leaving.log());
    let stopped = runs(&keeper).await;
    assert_eq!(stopped[0].0, "stopped");
    assert!(stopped[0].1 < i64::from(LINES), "{stopped:?}");
    assert_eq!(codes(&db, story.id()).await.len(), usize::try_from(i64::from(LINES) - stopped[0].1).unwrap() + 2);
    let run = keeper.tick(1).await;
    assert_eq!((run.state.as_str(), run.removed), ("done", i64::from(LINES) - stopped[0].1));
    is_whole(&db, &story).await;
}

#[tokio::test]
async fn a_database_that_goes_away_in_a_run_costs_time_alone() {
    let db = TestDb::new().await;
    let story = long(&db).await;
    let gate = crate::support::gate::Gate::before(&db, true).await;
    let keeper = Keeper::of(&gate.db(&db), Kind::BuildLines, "30d");
    let watched = Keeper::of(&db.db, Kind::BuildLines, "30d");
    keeper.maintenance.begin_due(chrono::Utc::now() + chrono::TimeDelta::minutes(1)).await;
    wait_for("it removes", async || runs(&watched).await.first().is_some_and(|run| run.1 > 0)).await;
    gate.cut();
    wait_for("it ended", async || runs(&watched).await[0].0 != "running").await;
    assert_eq!(runs(&watched).await, [("done".to_owned(), i64::from(LINES))]);
    is_whole(&db, &story).await;
    let value: Value = json!(watched.runs().await[0].error);
    assert_eq!(value, Value::Null);
}
