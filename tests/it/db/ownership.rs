//! Claims, based on the database's clock.

use std::collections::HashSet;

use panda::db::commit::Change;
use sqlx::Executor;

use super::{claim, claim_one, new_deployment, replica, replica_with};
use crate::support::commands::Commands;
use crate::support::db::TestDb;
use crate::support::wait_for;

fn at_step(step: &str) -> Change {
    Change { step: Some((step.to_owned(), serde_json::json!({}))), ..Change::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn claim__concurrent_replicas_do_not_overlap() {
    let test = TestDb::new().await;
    let db = &test.db;
    for _ in 0..30 {
        new_deployment(db).await;
    }
    let claims = (0..4).map(|_| async {
        let me = replica(db).await;
        let mut mine = Vec::new();
        loop {
            let ids = claim(db, me, 3, 3).await;
            if ids.is_empty() {
                return mine;
            }
            mine.extend(ids);
        }
    });
    let claimed: Vec<String> = futures_util::future::join_all(claims).await.concat();
    assert_eq!(claimed.len(), 30);
    assert_eq!(claimed.iter().collect::<HashSet<_>>().len(), 30);
}

#[tokio::test]
async fn claim__after_lease_expired() {
    let test = TestDb::new().await;
    let db = &test.db;
    let id = new_deployment(db).await;
    let silent = replica_with(db, std::time::Duration::from_millis(700)).await;
    assert_eq!(claim(db, silent, 1, 1).await, std::slice::from_ref(&id));
    let other = replica(db).await;
    assert!(claim(db, other, 1, 1).await.is_empty(), "its lease has not run out");
    let taken = wait_for("the row is taken over", async || claim(db, other, 1, 1).await.pop()).await;
    assert_eq!(taken, id);
    assert!(claim(db, silent, 1, 1).await.is_empty(), "a dead replica claims nothing");
}

#[tokio::test]
async fn claim__build_steps_need_permits() {
    let test = TestDb::new().await;
    let db = &test.db;
    let me = replica(db).await;
    for _ in 0..3 {
        new_deployment(db).await;
        let mut row = claim_one(db, me).await;
        db.commit(&mut row, me, Change { release: true, ..at_step("build_image") }).await.unwrap();
    }
    let light = new_deployment(db).await;
    let other = replica(db).await;
    assert_eq!(claim(db, other, 10, 0).await, [light], "no permit, no build");
    assert_eq!(claim(db, other, 10, 2).await.len(), 2, "two permits, two builds");
}

#[tokio::test]
async fn claim__unknown_step_left_to_newer_version() {
    let test = TestDb::new().await;
    let db = &test.db;
    let me = replica(db).await;
    new_deployment(db).await;
    let mut row = claim_one(db, me).await;
    db.commit(&mut row, me, Change { release: true, ..at_step("bake_canary") }).await.unwrap();
    assert!(claim(db, me, 1, 1).await.is_empty());
}

#[tokio::test]
async fn claim__leaving_replica_releases_everything() {
    let test = TestDb::new().await;
    let db = &test.db;
    let id = new_deployment(db).await;
    let leaving = replica(db).await;
    claim_one(db, leaving).await;
    db.deregister_replica(leaving).await.unwrap();
    let other = replica(db).await;
    assert_eq!(claim(db, other, 1, 1).await, [id]);
}

#[tokio::test]
async fn claim__counted_until_progress_except_handover() {
    let test = TestDb::new().await;
    let db = &test.db;
    new_deployment(db).await;
    let me = replica(db).await;
    let mut row = claim_one(db, me).await;
    assert_eq!(row.claims_without_progress, 1);
    db.release(&row.id, me, row.version).await.unwrap();
    row = claim_one(db, me).await;
    assert_eq!(row.claims_without_progress, 1, "a hand-over");
    db.deregister_replica(me).await.unwrap();
    let me = replica(db).await;
    row = claim_one(db, me).await;
    assert_eq!(row.claims_without_progress, 2, "a crash");
    db.commit(&mut row, me, at_step("grant_event_bus")).await.unwrap();
    assert_eq!(db.load_owned(me, &[row.id]).await.unwrap()[0].claims_without_progress, 0, "progress");
}

#[tokio::test]
async fn claim__long_run_not_counted_as_crash() {
    let test = TestDb::new().await;
    let db = &test.db;
    let id = new_deployment(db).await;
    for _ in 0..3 {
        let me = replica(db).await;
        assert_eq!(claim_one(db, me).await.id, id);
        // The replica followed a silent execution for a while before its machine failed.
        let sql = "UPDATE deployments SET run_started_at = now() - interval '2 minutes'";
        test.psql().await.execute(sql).await.unwrap();
        test.psql().await.execute("UPDATE replicas SET heartbeat_at = '-infinity'").await.unwrap();
    }
    let me = replica(db).await;
    assert_eq!(claim_one(db, me).await.claims_without_progress, 1);
}

#[tokio::test]
async fn claim__queued_waits_for_turn_or_cancellation() {
    let test = TestDb::new().await;
    let db = &test.db;
    let (holder, waiting) = (new_deployment(db).await, new_deployment(db).await);
    let sql = "UPDATE deployments SET queued = true, queued_at = now(), account_id = (SELECT account_id FROM deployments WHERE id = $2)
               WHERE id = $1";
    sqlx::query(sql).bind(&waiting).bind(&holder).execute(&mut test.psql().await).await.unwrap();
    let me = replica(db).await;
    assert_eq!(claim(db, me, 10, 10).await, [holder]);
    assert!(db.start_queued_deployments().await.unwrap().is_empty(), "its target is busy");
    db.request_cancel(&waiting).await.unwrap();
    assert_eq!(claim(db, me, 10, 10).await, [waiting]);
}

#[tokio::test]
async fn claim__awaiting_approval_waits_for_command() {
    let test = TestDb::new().await;
    let db = &test.db;
    let id = new_deployment(db).await;
    let me = replica(db).await;
    let mut row = claim_one(db, me).await;
    let ready = Change {
        status: Some(panda::domain::Status::DeploymentReady),
        release: true,
        step: Some(("await_switch".into(), serde_json::json!({"code_deploy_deployment_id": "d-1"}))),
        ..Change::default()
    };
    db.commit(&mut row, me, ready).await.unwrap();
    assert!(claim(db, me, 1, 1).await.is_empty());
    db.request_switch(&id).await.unwrap();
    let row = claim_one(db, me).await;
    assert!(row.switch_requested);
}
