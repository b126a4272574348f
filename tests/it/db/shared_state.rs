//! A deployment that no replica advances is reported as stuck.

use std::time::Duration;

use panda::db::Db;
use panda::db::shared_state::StuckDeployment;
use panda::steps::Step;
use pretty_assertions::assert_eq;
use sqlx::Executor;

use super::{claim_one, new_deployment, replica};
use crate::support::commands::Commands;
use crate::support::db::TestDb;

/// Every step with a limit of a minute.
fn limits() -> Vec<(String, Duration)> {
    Step::NAMES.iter().map(|&name| (name.to_owned(), Duration::from_mins(1))).collect()
}

async fn stuck(db: &Db) -> Option<StuckDeployment> {
    db.poll_shared_state(&[], &limits(), true).await.unwrap().stuck
}

async fn back(test: &TestDb, sql: &'static str) {
    test.psql().await.execute(sql).await.unwrap();
}

#[tokio::test]
async fn stuck__unclaimed_overdue_from_start() {
    let test = TestDb::new().await;
    let db = &test.db;
    assert_eq!(stuck(db).await, None);
    let id = new_deployment(db).await;
    new_deployment(db).await;
    back(&test, "UPDATE deployments SET step_started_at = now() - interval '90 seconds' WHERE started_at = (SELECT min(started_at) FROM deployments)").await;
    let overdue = stuck(db).await.unwrap();
    assert_eq!((overdue.id.as_str(), overdue.step.as_str(), overdue.replica), (id.as_str(), "ensure_event_rule", None));
    assert!((90..120).contains(&overdue.since.as_secs()), "{:?}", overdue.since);
}

#[tokio::test]
async fn stuck__held_overdue_after_step_limit() {
    let test = TestDb::new().await;
    let db = &test.db;
    let id = new_deployment(db).await;
    let me = replica(db).await;
    claim_one(db, me).await;
    back(&test, "UPDATE deployments SET step_started_at = now() - interval '50 seconds'").await;
    assert_eq!(stuck(db).await, None, "work is in progress");
    back(&test, "UPDATE deployments SET step_started_at = now() - interval '70 seconds'").await;
    let overdue = stuck(db).await.unwrap();
    assert_eq!((overdue.id, overdue.replica.as_deref()), (id, Some("test")));
    assert!((10..40).contains(&overdue.since.as_secs()), "{:?}", overdue.since);
}

#[tokio::test]
async fn stuck__silent_replica_overdue_from_lease_end() {
    let test = TestDb::new().await;
    let db = &test.db;
    new_deployment(db).await;
    let me = replica(db).await;
    claim_one(db, me).await;
    back(&test, "UPDATE deployments SET step_started_at = now() - interval '1 hour'").await;
    // The lease is five minutes.
    back(&test, "UPDATE replicas SET heartbeat_at = now() - interval '320 seconds'").await;
    let overdue = stuck(db).await.unwrap();
    assert_eq!(overdue.replica, None);
    assert!((20..50).contains(&overdue.since.as_secs()), "{:?}", overdue.since);
}

#[tokio::test]
async fn stuck__approval_and_queue_excluded_unseen_command_included() {
    let test = TestDb::new().await;
    let db = &test.db;
    let id = new_deployment(db).await;
    back(&test, "UPDATE deployments SET status = 'DEPLOYMENT_READY', step_started_at = now() - interval '1 day'").await;
    assert_eq!(stuck(db).await, None);
    db.request_switch(&id).await.unwrap();
    back(&test, "UPDATE deployments SET switch_requested_at = now() - interval '40 seconds'").await;
    let overdue = stuck(db).await.unwrap();
    assert!((40..70).contains(&overdue.since.as_secs()), "{:?}", overdue.since);
    back(&test, "UPDATE deployments SET status = 'RUNNING', switch_requested_at = NULL, queued = true").await;
    assert_eq!(stuck(db).await, None);
}
