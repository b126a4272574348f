//! Finished deployments move into the archive, and reports show them unchanged.

use panda::db::Db;
use panda::db::commit::{Change, Committed};
use panda::domain::catalogue::EventCode;
use panda::domain::deployment::Facts;
use panda::domain::event::Event;
use panda::domain::{Deployment, Status};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{claim_one, new_deployment, replica};
use crate::support::commands::Commands;
use crate::support::db::TestDb;

async fn commit(db: &Db, row: &mut Deployment, me: Uuid, change: Change) {
    assert!(matches!(db.commit(row, me, change).await.unwrap(), Committed::Done { .. }));
}

fn to_step(step: &str) -> Change {
    Change { step: Some((step.to_owned(), json!({}))), ..Change::default() }
}

fn end(status: Status, code: Option<&str>) -> Change {
    let final_service = (status == Status::Completed).then(|| "green".to_owned());
    Change {
        status: Some(status),
        error: code.map(|code| (code.to_owned(), "why".to_owned())),
        release: true,
        events: vec![Event::new(EventCode::DeploymentCompleted)],
        facts: Facts { final_service, ..Facts::default() },
        ..Change::default()
    }
}

/// A deployment whose first attempt failed in Stage 3 and whose second attempt completed.
async fn retried(db: &Db, me: Uuid) -> String {
    let id = new_deployment(db).await;
    let mut row = claim_one(db, me).await;
    commit(db, &mut row, me, to_step("follow_execution")).await;
    commit(db, &mut row, me, end(Status::Failed, Some("EXECUTION_FAILED"))).await;
    db.request_retry(&id).await.unwrap();
    let mut row = claim_one(db, me).await;
    commit(db, &mut row, me, to_step("follow_execution")).await;
    let polling_state = Some("REGISTER_TASK_IN_PROGRESS".to_owned());
    let facts = Facts { polling_state, ..Facts::default() };
    commit(db, &mut row, me, Change { facts, ..Change::default() }).await;
    commit(db, &mut row, me, to_step("verify_green")).await;
    let ready = Change { status: Some(Status::DeploymentReady), release: true, ..to_step("await_switch") };
    commit(db, &mut row, me, ready).await;
    db.request_switch(&id).await.unwrap();
    let mut row = claim_one(db, me).await;
    commit(db, &mut row, me, to_step("confirm_switch")).await;
    commit(db, &mut row, me, end(Status::Completed, None)).await;
    id
}

/// All rows, as JSON, of a view that contains every deployment.
async fn rows(test: &TestDb, view: &str) -> Vec<Value> {
    let sql = format!("SELECT to_jsonb(v) FROM {view} v ORDER BY to_jsonb(v)::text");
    sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_all(&mut test.psql().await).await.unwrap()
}

/// Stages as reports show them, from the live tables or the archive.
const STAGES: &str = "(SELECT deployment_id, attempt, stage, started_at, ended_at, working_seconds, waiting_seconds, tries FROM history_stages
    UNION ALL SELECT deployment_id, attempt, stage, started_at, ended_at, working_seconds, waiting_seconds, tries FROM archived_stages)";

#[tokio::test]
async fn archive__moves_deployment_attempts_and_stages() {
    let test = TestDb::new().await;
    let db = &test.db;
    let me = replica(db).await;
    let id = retried(db, me).await;
    let (attempts, stages) = (rows(&test, "history_attempts").await, rows(&test, STAGES).await);
    assert_eq!(attempts.len(), 2);
    let mut names: Vec<_> =
        stages.iter().map(|row| (row["attempt"].as_i64().unwrap(), row["stage"].as_str().unwrap())).collect();
    names.sort_unstable();
    assert_eq!(names, [(1, "Stage 3"), (1, "Step 1"), (2, "Retry"), (2, "Stage 3"), (2, "Stage 4")]);

    let ids = [id];
    assert_eq!(db.archive_deployments(&ids).await.unwrap(), ids);

    assert_eq!(rows(&test, "history_attempts").await, attempts);
    assert_eq!(rows(&test, STAGES).await, stages);
    for table in ["deployments", "deployment_attempts", "deployment_events", "step_runs"] {
        assert_eq!(rows(&test, table).await, Vec::<Value>::new(), "{table}");
    }
    let archived = &rows(&test, "archived_deployments").await[0];
    assert_eq!((&archived["events"], &archived["status"]), (&json!(2), &json!("COMPLETED")));
    assert_eq!(db.archive_deployments(&ids).await.unwrap(), Vec::<String>::new(), "the second run archives nothing");
}

#[tokio::test]
async fn archive__unfinished_or_missing_not_archived() {
    let test = TestDb::new().await;
    let db = &test.db;
    let me = replica(db).await;
    let running = new_deployment(db).await;
    let mut row = claim_one(db, me).await;
    commit(db, &mut row, me, to_step("grant_event_bus")).await;
    let failed = new_deployment(db).await;
    let mut row = claim_one(db, me).await;
    commit(db, &mut row, me, end(Status::Failed, Some("EVENT_RULE_FAILED"))).await;
    db.request_retry(&failed).await.unwrap();
    let ids = [running.clone(), failed.clone(), "dep_unknown".to_owned()];
    assert_eq!(db.archive_deployments(&ids).await.unwrap(), Vec::<String>::new());
    assert_eq!(rows(&test, "archived_deployments").await, Vec::<Value>::new());
    for id in [running, failed] {
        assert!(db.deployment(&id).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn archive__cancelled_keeps_interrupted_step() {
    let test = TestDb::new().await;
    let db = &test.db;
    let me = replica(db).await;
    let id = new_deployment(db).await;
    let mut row = claim_one(db, me).await;
    let cancel = json!({"during": "build_image", "stage": 1, "looks": 0, "stopping": false});
    let change = Change { step: Some(("cancel".to_owned(), cancel)), ..Change::default() };
    commit(db, &mut row, me, change).await;
    commit(db, &mut row, me, end(Status::Failed, Some("CANCELLED"))).await;
    let before = rows(&test, "history_attempts").await;
    assert_eq!(before[0]["interrupted_step"], "build_image");
    db.archive_deployments(&[id]).await.unwrap();
    assert_eq!(rows(&test, "history_attempts").await, before);
}
