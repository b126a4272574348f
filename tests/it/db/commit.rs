//! The fenced commit of state, facts and events.

use panda::db::commit::{Change, Committed};
use panda::db::ownership::Heartbeat;
use panda::domain::catalogue::EventCode;
use panda::domain::event::Event;
use panda::domain::{Facts, Status};
use sqlx::Row;

use super::{claim_one, new_deployment, replica, replica_with};
use crate::support::db::TestDb;

fn telling(events: Vec<Event>) -> Change {
    Change { events, ..Change::default() }
}

fn line(n: u32) -> Event {
    Event::new(EventCode::BuildProgress).with("message", format!("line {n}")).keyed(n)
}

#[tokio::test]
async fn commit__state_facts_and_events_together() {
    let test = TestDb::new().await;
    let db = &test.db;
    let id = new_deployment(db).await;
    let me = replica(db).await;
    let mut row = claim_one(db, me).await;
    let change = Change {
        step: Some(("grant_event_bus".into(), serde_json::json!({}))),
        facts: Facts { commit_sha: Some("abc".into()), last_history_event_id: Some(7), ..Facts::default() },
        ..telling(vec![Event::new(EventCode::EventRuleCreated)])
    };
    assert_eq!(db.commit(&mut row, me, change).await.unwrap(), Committed::Done { new_events: 1 });
    let read = db.load_owned(me, &[id]).await.unwrap().pop().unwrap();
    assert_eq!((read.step.as_str(), read.version), ("grant_event_bus", row.version));
    assert_eq!(read.facts, row.facts, "the copy in memory is updated");
    assert_eq!(read.facts.last_history_event_id, Some(7));
    assert_eq!(read.claims_without_progress, 0);
}

#[tokio::test]
async fn commit__used_version_refused() {
    let test = TestDb::new().await;
    let db = &test.db;
    let id = new_deployment(db).await;
    let me = replica(db).await;
    let mut row = claim_one(db, me).await;
    let mut stale = row.clone();
    db.commit(&mut row, me, telling(vec![line(1)])).await.unwrap();
    let late = Change { status: Some(Status::Completed), ..telling(vec![line(2)]) };
    assert_eq!(db.commit(&mut stale, me, late).await.unwrap(), Committed::OwnershipLost);
    assert_eq!(db.events_after(&id, 0, 10).await.unwrap().len(), 1);
    assert_eq!(db.deployment(&id).await.unwrap().unwrap().status, "RUNNING");
}

#[tokio::test]
async fn commit__expired_owner_refused() {
    let test = TestDb::new().await;
    let db = &test.db;
    let id = new_deployment(db).await;
    let paused = replica_with(db, std::time::Duration::from_millis(1)).await;
    // The claim needs a live replica. With a lease of a millisecond it may have expired, so register and claim are retried.
    let mut row = crate::support::wait_for("claimed within a lease of a millisecond", async || {
        db.register_replica(paused, uuid::Uuid::now_v7(), "test", std::time::Duration::from_millis(1)).await.unwrap();
        let ids = super::claim(db, paused, 1, 1).await;
        db.load_owned(paused, &ids).await.unwrap().pop()
    })
    .await;
    let other = replica(db).await;
    let taken = claim_one(db, other).await;
    assert_eq!(taken.id, id);
    assert_eq!(db.commit(&mut row, paused, telling(vec![line(1)])).await.unwrap(), Committed::OwnershipLost);
    assert!(db.events_after(&id, 0, 10).await.unwrap().is_empty());
    assert_eq!(db.heartbeat(paused).await.unwrap(), Heartbeat::Lost, "a lease that ran out cannot be renewed");
}

#[tokio::test]
async fn commit__repeated_event_skipped_without_gap() {
    let test = TestDb::new().await;
    let db = &test.db;
    let id = new_deployment(db).await;
    let me = replica(db).await;
    let mut row = claim_one(db, me).await;
    db.commit(&mut row, me, telling(vec![line(1), line(2)])).await.unwrap();
    let again = db.commit(&mut row, me, telling(vec![line(1), line(2), line(3)])).await.unwrap();
    assert_eq!(again, Committed::Done { new_events: 1 });
    let events = db.events_after(&id, 0, 10).await.unwrap();
    let emitted: Vec<(i64, &str)> =
        events.iter().map(|event| (event.seq, event.params["message"].as_str().unwrap())).collect();
    assert_eq!(emitted, [(1, "line 1"), (2, "line 2"), (3, "line 3")]);
}

#[tokio::test]
async fn commit__tables_hold_korean_text() {
    let test = TestDb::new().await;
    let db = &test.db;
    new_deployment(db).await;
    let me = replica(db).await;
    let mut row = claim_one(db, me).await;
    db.commit(&mut row, me, telling(vec![Event::new(EventCode::EventRuleCreated)])).await.unwrap();
    let mut psql = test.psql().await;
    let sql = "SELECT type, stage, message, details->>'stage' AS detail FROM deployment_events";
    let emitted = sqlx::query(sql).fetch_one(&mut psql).await.unwrap();
    assert_eq!(emitted.get::<String, _>("type"), "stage");
    assert_eq!(emitted.get::<i32, _>("stage"), 1);
    assert_eq!(emitted.get::<String, _>("message"), "[Step 1] EventBridge 규칙 생성 완료");
    assert_eq!(emitted.get::<String, _>("detail"), "1");
}

#[tokio::test]
async fn commit__text_invalid_for_postgres_cleaned() {
    let test = TestDb::new().await;
    let db = &test.db;
    let id = new_deployment(db).await;
    let me = replica(db).await;
    let mut row = claim_one(db, me).await;
    let odd = Event::new(EventCode::BuildProgress).with("message", "a\0b\u{feff}\u{1f43c}\r\n").keyed(1);
    db.commit(&mut row, me, telling(vec![odd])).await.unwrap();
    let event = db.events_after(&id, 0, 1).await.unwrap().pop().unwrap();
    assert_eq!(event.params["message"], "a\u{fffd}b\u{feff}\u{1f43c}\r\n");
}

#[tokio::test]
async fn schema__every_column_commented() {
    let test = TestDb::new().await;
    let mut psql = test.psql().await;
    let sql = "SELECT c.relname || '.' || a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
               WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND c.relname <> '_sqlx_migrations'
                 AND a.attnum > 0 AND NOT a.attisdropped AND col_description(c.oid, a.attnum) IS NULL";
    let silent: Vec<String> = sqlx::query_scalar(sql).fetch_all(&mut psql).await.unwrap();
    assert!(silent.is_empty(), "columns without a comment: {silent:?}");
}
