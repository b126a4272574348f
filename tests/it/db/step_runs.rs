//! The record of each transition: replica, time and outcome.

use panda::db::commit::{Change, Committed};
use panda::domain::Status;
use panda::domain::catalogue::EventCode;
use panda::domain::event::Event;
use sqlx::Row;

use super::{claim_one, new_deployment, replica, replica_with};
use crate::support::db::TestDb;
use crate::support::wait_for;

fn to_step(step: &str) -> Change {
    Change { step: Some((step.to_owned(), serde_json::json!({}))), ..Change::default() }
}

fn trouble(code: &str, reason: &str, tries: u32) -> Change {
    Change { trouble: Some((code.to_owned(), reason.to_owned())), tries, ..Change::default() }
}

/// Step, outcome, tries and error code of each record, in order.
async fn runs(test: &TestDb) -> Vec<(String, String, i32, Option<String>)> {
    let sql = "SELECT step, outcome, tries, error_code FROM step_runs ORDER BY version";
    let rows = sqlx::query(sql).fetch_all(&mut test.psql().await).await.unwrap();
    rows.into_iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3))).collect()
}

fn run(step: &str, outcome: &str, tries: i32, code: Option<&str>) -> (String, String, i32, Option<String>) {
    (step.to_owned(), outcome.to_owned(), tries, code.map(str::to_owned))
}

#[tokio::test]
async fn step_runs__one_per_transition_without_gaps() {
    let test = TestDb::new().await;
    let db = &test.db;
    new_deployment(db).await;
    let me = replica(db).await;
    let mut row = claim_one(db, me).await;
    db.commit(&mut row, me, to_step("grant_event_bus")).await.unwrap();
    db.commit(&mut row, me, trouble("EVENT_BUS_PERMISSION_FAILED", "throttled", 2)).await.unwrap();
    db.commit(&mut row, me, to_step("fetch_source")).await.unwrap();
    let error = Some(("BRANCH_NOT_FOUND".to_owned(), "…".to_owned()));
    let failed = Change {
        status: Some(Status::Failed),
        error,
        release: true,
        ..trouble("BRANCH_NOT_FOUND", "no branch main", 1)
    };
    db.commit(&mut row, me, failed).await.unwrap();
    assert_eq!(
        runs(&test).await,
        [
            run("ensure_event_rule", "next", 1, None),
            run("grant_event_bus", "retry", 2, Some("EVENT_BUS_PERMISSION_FAILED")),
            run("grant_event_bus", "next", 1, None),
            run("fetch_source", "failed", 1, Some("BRANCH_NOT_FOUND")),
        ]
    );
    let sql = "SELECT bool_and(started_at <= ended_at AND coalesce(started_at = before, true)), bool_and(replica_id = $1 AND replica_name = 'test')
               FROM (SELECT *, lag(ended_at) OVER (ORDER BY version) AS before FROM step_runs) AS runs";
    let row = sqlx::query(sql).bind(me).fetch_one(&mut test.psql().await).await.unwrap();
    assert_eq!((row.get::<bool, _>(0), row.get::<bool, _>(1)), (true, true), "each begins where the last one ended");
}

#[tokio::test]
async fn step_runs__no_record_without_transition() {
    let test = TestDb::new().await;
    let db = &test.db;
    new_deployment(db).await;
    let me = replica(db).await;
    let mut row = claim_one(db, me).await;
    let line = Event::new(EventCode::BuildProgress).with("message", "line").keyed(1);
    db.commit(&mut row, me, Change { events: vec![line], ..Change::default() }).await.unwrap();
    let waits = Change { waiting_for: Some("the execution is running".into()), ..Change::default() };
    db.commit(&mut row, me, waits).await.unwrap();
    assert!(runs(&test).await.is_empty());
}

#[tokio::test]
async fn step_runs__refused_commit_leaves_none() {
    let test = TestDb::new().await;
    let db = &test.db;
    new_deployment(db).await;
    let me = replica(db).await;
    let mut row = claim_one(db, me).await;
    let mut stale = row.clone();
    db.commit(&mut row, me, to_step("grant_event_bus")).await.unwrap();
    let refused = db.commit(&mut stale, me, to_step("grant_event_bus")).await.unwrap();
    assert_eq!(refused, Committed::OwnershipLost);
    assert_eq!(runs(&test).await, [run("ensure_event_rule", "next", 1, None)]);
}

#[tokio::test]
async fn step_runs__handed_over_work_names_its_replica() {
    let test = TestDb::new().await;
    let db = &test.db;
    new_deployment(db).await;
    let (one, two) = (replica(db).await, replica(db).await);
    let row = claim_one(db, one).await;
    db.release(&row.id, one, row.version).await.unwrap();
    db.release(&row.id, one, row.version).await.unwrap();
    claim_one(db, two).await;
    db.deregister_replica(two).await.unwrap();
    let handed_over = run("ensure_event_rule", "handed_over", 1, None);
    assert_eq!(runs(&test).await, [handed_over.clone(), handed_over], "once each, the repeat changed nothing");
    let sql = "SELECT replica_id FROM step_runs ORDER BY version";
    let who: Vec<uuid::Uuid> = sqlx::query_scalar(sql).fetch_all(&mut test.psql().await).await.unwrap();
    assert_eq!(who, [one, two]);
}

#[tokio::test]
async fn step_runs__lost_work_recorded_by_new_owner() {
    let test = TestDb::new().await;
    let db = &test.db;
    new_deployment(db).await;
    let silent = replica_with(db, std::time::Duration::from_millis(300)).await;
    claim_one(db, silent).await;
    let other = replica(db).await;
    wait_for("the row is taken over", async || super::claim(db, other, 1, 1).await.pop()).await;
    assert_eq!(runs(&test).await, [run("ensure_event_rule", "lost", 1, None)]);
    let sql = "SELECT replica_id FROM step_runs";
    let who: uuid::Uuid = sqlx::query_scalar(sql).fetch_one(&mut test.psql().await).await.unwrap();
    assert_eq!(who, silent);
}
