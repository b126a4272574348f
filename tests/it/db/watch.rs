//! Rows that AWS can still change: which are watched, and the looks that are requested of them.

use std::time::Duration;

use panda::db::Db;
use panda::db::commit::Change;
use panda::domain::deployment::Facts;
use panda::domain::{Deployment, Status};
use pretty_assertions::assert_eq;
use serde_json::json;
use uuid::Uuid;

use super::{claim, claim_one, new_deployment, replica};
use crate::support::db::TestDb;

async fn commit(db: &Db, row: &mut Deployment, me: Uuid, change: Change) {
    assert!(matches!(db.commit(row, me, change).await.unwrap(), panda::db::commit::Committed::Done { .. }));
}

fn at_rest(status: Status, watched: Option<bool>, step: &str) -> Change {
    let facts = Facts { code_deploy_deployment_id: Some("d-1".to_owned()), ..Facts::default() };
    let step = Some((step.to_owned(), json!({"code_deploy_deployment_id": "d-1"})));
    Change { status: Some(status), step, release: true, watched, facts, ..Change::default() }
}

async fn ready(db: &Db, me: Uuid) -> String {
    let id = new_deployment(db).await;
    let mut row = claim_one(db, me).await;
    commit(db, &mut row, me, at_rest(Status::DeploymentReady, None, "await_switch")).await;
    id
}

async fn switched(db: &Db, me: Uuid) -> String {
    let id = new_deployment(db).await;
    let mut row = claim_one(db, me).await;
    commit(db, &mut row, me, at_rest(Status::Completed, Some(true), "watch_traffic")).await;
    id
}

async fn watched(db: &Db) -> Vec<String> {
    let mut after = (String::new(), String::new());
    let mut ids = Vec::new();
    loop {
        let page = db.watched_page(&after, 1).await.unwrap();
        let Some(last) = page.last() else { break };
        after = (last.aws_connection_id.clone(), last.id.clone());
        ids.extend(page.iter().map(|row| row.id.clone()));
    }
    ids.sort_unstable();
    ids
}

fn sorted(mut ids: Vec<String>) -> Vec<String> {
    ids.sort_unstable();
    ids
}

#[tokio::test]
async fn watch__one_turn_a_period() {
    let test = TestDb::new().await;
    let length = Duration::from_mins(1);
    assert!(test.db.take_watch_turn(length).await.unwrap());
    assert!(!test.db.take_watch_turn(length).await.unwrap(), "another replica has the turn");
    sqlx::query("UPDATE leases SET expires_at = clock_timestamp()").execute(&mut test.psql().await).await.unwrap();
    assert!(test.db.take_watch_turn(length).await.unwrap());
}

#[tokio::test]
async fn watch__rows_at_rest_until_they_end() {
    let test = TestDb::new().await;
    let (db, me) = (&test.db, replica(&test.db).await);
    let (ready, switched) = (ready(db, me).await, switched(db, me).await);
    let mut row = {
        new_deployment(db).await;
        claim_one(db, me).await
    };
    assert_eq!(watched(db).await, sorted(vec![ready.clone(), switched.clone()]), "a running one is not watched");
    commit(db, &mut row, me, at_rest(Status::Completed, None, "confirm_switch")).await;
    assert_eq!(watched(db).await.len(), 2, "nor one that nothing can change");

    // A look makes them claimable, once.
    let ids = [ready.clone(), switched.clone(), "dep_unknown".to_owned(), row.id.clone()];
    assert_eq!(db.request_looks(&ids).await.unwrap(), 2);
    assert_eq!(db.request_looks(&ids).await.unwrap(), 0);
    assert_eq!(watched(db).await, Vec::<String>::new(), "their step asks AWS itself");
    assert_eq!(sorted(claim(db, me, 10, 10).await), sorted(vec![ready.clone(), switched.clone()]));
    assert_eq!(claim(db, replica(db).await, 10, 10).await, Vec::<String>::new());

    // The commit that releases the row fulfils the look: with the same status, with the end of the watch, or with a failure.
    let mut rows = db.load_owned(me, &[ready.clone(), switched.clone()]).await.unwrap();
    rows.sort_by_key(|row| row.status != Status::DeploymentReady);
    commit(db, &mut rows[0], me, Change { release: true, ..Change::default() }).await;
    assert_eq!(watched(db).await, std::slice::from_ref(&ready));
    let error = Some(("ROLLED_BACK_AFTER_SWITCH".to_owned(), "why".to_owned()));
    commit(db, &mut rows[1], me, Change { status: Some(Status::Failed), error, release: true, ..Change::default() })
        .await;
    assert_eq!(watched(db).await, std::slice::from_ref(&ready));
    assert_eq!(db.deployment(&switched).await.unwrap().unwrap().status, "FAILED");
}

#[tokio::test]
async fn watch__ends_without_connection_or_after_longest() {
    let test = TestDb::new().await;
    let (db, me) = (&test.db, replica(&test.db).await);
    let (ready, old, unconnected, new) =
        (ready(db, me).await, switched(db, me).await, switched(db, me).await, switched(db, me).await);
    let mut psql = test.psql().await;
    sqlx::query("UPDATE deployments SET completed_at = now() - interval '4 days' WHERE id = $1")
        .bind(&old)
        .execute(&mut psql)
        .await
        .unwrap();
    sqlx::query(
        "UPDATE aws_connections SET removed_at = now(), key_id = NULL, wrapped_key = NULL, secret_access_key_encrypted = NULL,
                session_token_encrypted = NULL, external_id_encrypted = NULL
         WHERE id = (SELECT aws_connection_id FROM deployments WHERE id = $1)",
    )
    .bind(&unconnected)
    .execute(&mut psql)
    .await
    .unwrap();
    assert_eq!(db.end_overdue_watches(Duration::from_hours(72)).await.unwrap(), 2);
    assert_eq!(watched(db).await, sorted(vec![ready, new]));
}

#[tokio::test]
async fn archive__watched_deployment_stays() {
    let test = TestDb::new().await;
    let (db, me) = (&test.db, replica(&test.db).await);
    let id = switched(db, me).await;
    let ids = [id.clone()];
    assert_eq!(db.archive_deployments(&ids).await.unwrap(), Vec::<String>::new());
    assert_eq!(db.request_looks(&ids).await.unwrap(), 1);
    let mut row = claim_one(db, me).await;
    commit(db, &mut row, me, Change { watched: Some(false), release: true, ..Change::default() }).await;
    assert_eq!(db.archive_deployments(&ids).await.unwrap(), ids);
}
