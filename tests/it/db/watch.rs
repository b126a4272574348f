//! Rows that AWS can still change: which are watched, and the looks that are requested of them.

use std::time::Duration;

use panda::db::Db;
use panda::db::commit::Change;
use panda::domain::deployment::Facts;
use panda::domain::status_event::StatusSubject;
use panda::domain::{Deployment, Status};
use pretty_assertions::assert_eq;
use serde_json::json;
use uuid::Uuid;

use super::{claim, claim_one, new_deployment, replica};
use crate::support::db::TestDb;

const ACCOUNT: &str = "210987654321";
const REGION: &str = "eu-north-1";

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
    watched_in(db, 0).await
}

async fn watched_in(db: &Db, turn: i64) -> Vec<String> {
    let mut after = (String::new(), String::new());
    let mut ids = Vec::new();
    loop {
        let page = db.watched_page(turn, &after, 1).await.unwrap();
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
    let first = test.db.take_watch_turn(length).await.unwrap().unwrap();
    assert_eq!(test.db.take_watch_turn(length).await.unwrap(), None, "another replica has the turn");
    sqlx::query("UPDATE leases SET expires_at = clock_timestamp()").execute(&mut test.psql().await).await.unwrap();
    assert_eq!(test.db.take_watch_turn(length).await.unwrap(), Some(first + 1));
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

/// A rollout of ECS in one account that awaits its switch until the time `until`, in seconds from now.
async fn native(test: &TestDb, me: Uuid, service: &str, until: Option<i64>) -> String {
    let id = new_deployment(&test.db).await;
    let mut row = claim_one(&test.db, me).await;
    let facts = Facts {
        service_deployment_arn: Some(format!("arn:aws:ecs:{REGION}:{ACCOUNT}:service-deployment/prod/{service}/{id}")),
        ready_until: until.map(|seconds| chrono::Utc::now() + chrono::Duration::seconds(seconds)),
        ..Facts::default()
    };
    commit(&test.db, &mut row, me, Change { facts, ..at_rest(Status::DeploymentReady, None, "await_switch") }).await;
    let sql = "UPDATE deployments SET account_id = $2, region = $3, ecr_repository = id WHERE id = $1";
    let moved = sqlx::query(sql).bind(&id).bind(ACCOUNT).bind(REGION).execute(&mut test.psql().await).await.unwrap();
    assert_eq!(moved.rows_affected(), 1);
    id
}

#[tokio::test]
async fn watch__rollouts_with_status_events_have_one_of_three_turns() {
    let test = TestDb::new().await;
    let (db, me) = (&test.db, replica(&test.db).await);
    let mut waiting = Vec::new();
    for n in 0..12 {
        waiting.push(native(&test, me, &format!("web-{n}"), Some(3_600)).await);
    }
    let (code_deploy, new, late) =
        (ready(db, me).await, native(&test, me, "new", None).await, native(&test, me, "late", Some(-1)).await);
    native(&test, me, "woken", Some(3_600)).await;
    assert_eq!(watched_in(db, 5).await.len(), 16, "no event has arrived");

    let about = |region: &str, name: &str| StatusSubject::Service {
        account: ACCOUNT.to_owned(),
        region: region.to_owned(),
        cluster: "prod".to_owned(),
        name: name.to_owned(),
    };
    let others = [about("xx-nowhere-1", "woken"), about(REGION, "unknown")];
    assert_eq!(db.request_looks_about(&others).await.unwrap(), 0);
    assert_eq!(watched_in(db, 5).await.len(), 16, "events about others prove nothing");
    assert_eq!(db.request_looks_about(&[about(REGION, "woken")]).await.unwrap(), 1);

    let mut seen = Vec::new();
    for turn in 5..8 {
        let ids = watched_in(db, turn).await;
        for always in [&code_deploy, &new, &late] {
            assert!(ids.contains(always), "turn {turn} compares what no event covers");
        }
        seen.extend(ids.into_iter().filter(|id| waiting.contains(id)));
    }
    assert_eq!(sorted(seen), sorted(waiting), "each once in three turns");
    let old = "UPDATE status_event_regions SET received_at = now() - interval '16 minutes'";
    sqlx::query(old).execute(&mut test.psql().await).await.unwrap();
    assert_eq!(watched_in(db, 5).await.len(), 15, "events arrive no more");
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
