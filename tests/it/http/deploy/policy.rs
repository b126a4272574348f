//! What policies do to deployments: windows hold starts and switches, and a switch needs several approvers.

use chrono::{Timelike as _, Utc};
use panda::domain::deployment::Facts;
use panda::domain::principal::Role;
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use super::DeployApi;
use crate::http::auth::{Token, serve};
use crate::http::{Api, Fixture};
use crate::support::db::TestDb;

const STARTED: &str = "배포가 시작되었습니다.";
const RESULT: &str = "배포 결과 조회 성공";
const POLICY: &str = "/api/v1/policies/acme/shop";

async fn result(api: &Api, id: &str) -> Value {
    api.get(&format!("/api/v1/deploy/{id}/result")).await.data(RESULT)
}

async fn codes(db: &TestDb, id: &str) -> Vec<String> {
    db.db.events_after(id, 0, 100).await.unwrap().into_iter().map(|event| event.code).collect()
}

/// A window of one hour that begins in about twelve hours.
fn closed(permits: &str) -> Value {
    let hour = (Utc::now().hour() + 12) % 24;
    json!({"windows": [{"cron": format!("0 {hour} * * *"), "minutes": 60, "permits": permits}]})
}

#[tokio::test]
async fn policy__window_holds_a_start_until_it_opens() {
    let env = DeployApi::serve(json!({"branch": "main"})).await;
    let (db, api) = (&env.db, &env.api);
    assert_eq!(api.put(POLICY, &closed("starts")).await.status, 200);
    let made = env.deploy(&json!({}), None).await.data(STARTED);
    let id = made["deploymentId"].as_str().unwrap();
    assert_eq!((&made["heldBy"]["cause"], &made["heldBy"]["held"]), (&json!("window"), &json!("start")));
    let row = result(api, id).await;
    assert_eq!(
        (&row["heldBy"], &row["policyVersion"]),
        (&made["heldBy"], &Value::Null),
        "the policy is copied at the start"
    );
    assert!(db.db.start_queued_deployments().await.unwrap().is_empty());
    assert_eq!(codes(db, id).await, ["window_awaited"]);
    // The next version permits every minute: what waits starts, with this version.
    let open = json!({"windows": [{"cron": "* * * * *", "minutes": 2, "permits": "both"}]});
    assert_eq!(api.put(POLICY, &open).await.status, 200);
    let row = result(api, id).await;
    assert_eq!((&row["heldBy"], &row["policyVersion"], &row["queuePosition"]), (&Value::Null, &json!(2), &Value::Null));
    // A policy of the target itself goes before that of the repository.
    let target = format!("{POLICY}?accountId=123456789012&region=ap-northeast-2");
    assert_eq!(api.put(&target, &closed("both")).await.status, 200);
    let next = env.deploy(&json!({"concurrency": "queue"}), None).await.data(STARTED);
    assert_eq!(next["heldBy"]["cause"], json!("window"));
}

#[tokio::test]
async fn policy__window_refuses_a_switch_unless_overridden() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    assert_eq!(api.put(POLICY, &closed("switches")).await.status, 200);
    let mut ready = Fixture::begin(&db.db).await;
    ready.ready().await;
    // Deployments keep the version with which they started.
    assert_eq!(api.put(POLICY, &json!({})).await.status, 200);
    let path = format!("/api/v1/deploy/{}/switch", ready.id());
    let problem = api.post(&path, &json!({})).await.problem(409, "SWITCH_OUTSIDE_WINDOW");
    let held = result(&api, ready.id()).await["heldBy"].clone();
    assert_eq!((&held["cause"], &held["held"]), (&json!("window"), &json!("switch")));
    assert!(problem["detail"].as_str().unwrap().contains(held["until"].as_str().unwrap()), "{problem} {held}");
    assert_eq!(api.post(&path, &json!({"override": {"reason": "urgent"}})).await.status, 200);
    assert_eq!(codes(&db, ready.id()).await.last().unwrap(), "window_overridden");
    assert_eq!(result(&api, ready.id()).await["policyVersion"], json!(1));
}

#[tokio::test]
async fn policy__switch_needs_several_approvers_of_the_image() {
    let db = TestDb::new().await;
    let api = serve(&db.db).await;
    let admin = Token::of(&db.db, Role::Admin).await;
    let policy = json!({"approvals": {"count": 3}});
    assert_eq!(admin.put(&api, POLICY, &policy).await.status, 200);
    let mut ready = Fixture::begin(&db.db).await;
    ready.learn(Facts { image_digest: Some("sha256:a".to_owned()), ..Facts::default() }).await;
    let path = format!("/api/v1/deploy/{}/switch", ready.id());
    admin.post(&api, &path, &json!({})).await.problem(409, "SWITCH_NOT_READY");
    ready.ready().await;
    let approver = Token::of(&db.db, Role::Approver).await;
    let message = "배포 전환이 승인되었습니다.";
    let first = approver.post(&api, &path, &json!({"imageDigest": "sha256:a"})).await.data(message);
    let missing =
        |answer: &Value| (answer["switchStatus"].as_str().unwrap().to_owned(), answer["missingApprovals"].clone());
    assert_eq!(missing(&first), ("AWAITING_APPROVALS".to_owned(), json!(2)));
    assert_eq!(approver.post(&api, &path, &json!({})).await.data(message), first, "approving again changes nothing");
    admin.post(&api, &path, &json!({"imageDigest": "sha256:b"})).await.problem(409, "IMAGE_CHANGED");
    admin.post(&api, &path, &json!({"pause": "hook:1"})).await.problem(409, "PAUSE_CHANGED");
    let second = admin.post(&api, &path, &json!({})).await.data(message);
    assert_eq!(missing(&second), ("AWAITING_APPROVALS".to_owned(), json!(1)));
    assert!(db.db.deployment(ready.id()).await.unwrap().unwrap().switch_requested_at.is_none());
    // Approvals of an image that is no longer the one that is ready do not count.
    let other = "UPDATE approvals SET image_digest = 'sha256:old' WHERE subject = 'approver-test'";
    sqlx::query(other).execute(&mut db.psql().await).await.unwrap();
    assert_eq!(missing(&approver.post(&api, &path, &json!({})).await.data(message)).1, json!(1));
    let third = "INSERT INTO approvals (deployment_id, attempt, subject, image_digest, audit_id) VALUES ($1, 1, 'carol', 'sha256:a', 0)";
    sqlx::query(third).bind(ready.id()).execute(&mut db.psql().await).await.unwrap();
    assert_eq!(
        approver.post(&api, &path, &json!({})).await.data("배포 전환이 시작되었습니다.")["switchStatus"],
        json!("IN_PROGRESS")
    );
    let emitted = codes(&db, ready.id()).await;
    assert_eq!(emitted.iter().filter(|code| *code == "switch_approved").count(), 2);
    let sql = "SELECT count(*) FROM audit WHERE action = 'approve' AND result = 'done' AND target = $1";
    let audited: i64 = sqlx::query_scalar(sql).bind(ready.id()).fetch_one(&mut db.psql().await).await.unwrap();
    assert_eq!(audited, 4, "one for each approval, and none for a repetition");
}

#[tokio::test]
async fn policy__approvals_end_and_need_another_than_the_starter() {
    let db = TestDb::new().await;
    let api = serve(&db.db).await;
    let admin = Token::of(&db.db, Role::Admin).await;
    let policy = json!({"approvals": {"fourEyes": true, "minutes": 30}});
    assert_eq!(admin.put(&api, POLICY, &policy).await.status, 200);
    let mut ready = Fixture::begin(&db.db).await;
    ready.ready().await;
    let path = format!("/api/v1/deploy/{}/switch", ready.id());
    let mut psql = db.psql().await;
    let started = "UPDATE deployments SET started_by = 'admin-test' WHERE id = $1";
    sqlx::query(started).bind(ready.id()).execute(&mut psql).await.unwrap();
    admin.post(&api, &path, &json!({})).await.problem(403, "APPROVER_STARTED_IT");
    let approver = Token::of(&db.db, Role::Approver).await;
    let late = "UPDATE deployments SET ready_at = ready_at - interval '31 minutes' WHERE id = $1";
    sqlx::query(late).bind(ready.id()).execute(&mut psql).await.unwrap();
    approver.post(&api, &path, &json!({})).await.problem(409, "APPROVALS_CLOSED");
    let in_time = "UPDATE deployments SET ready_at = ready_at + interval '10 minutes' WHERE id = $1";
    sqlx::query(in_time).bind(ready.id()).execute(&mut psql).await.unwrap();
    assert_eq!(approver.post(&api, &path, &json!({})).await.status, 200);
}
