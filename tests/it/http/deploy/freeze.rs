//! What freezes do to deployments: starts wait in the queue, switches are refused, and an approver overrides them. Rollbacks are never held.

use panda::db::notify::WORK_CHANNEL;
use panda::domain::deployment::Facts;
use panda::domain::principal::Role;
use pretty_assertions::assert_eq;
use reqwest::Method;
use serde_json::{Value, json};

use super::DeployApi;
use crate::http::auth::{Token, serve};
use crate::http::fixture::{self, create};
use crate::http::freezes::{ahead, freeze, lift};
use crate::http::{Answer, Api, Fixture};
use crate::support::WAIT_LIMIT;
use crate::support::commands::Commands;
use crate::support::db::TestDb;

const STARTED: &str = "배포가 시작되었습니다.";
const SWITCHED: &str = "배포 전환이 시작되었습니다.";
const RESULT: &str = "배포 결과 조회 성공";

async fn result(api: &Api, id: &str) -> Value {
    api.get(&format!("/api/v1/deploy/{id}/result")).await.data(RESULT)
}

async fn codes(db: &TestDb, id: &str) -> Vec<String> {
    db.db.events_after(id, 0, 100).await.unwrap().into_iter().map(|event| event.code).collect()
}

async fn details(db: &TestDb, action: &str) -> Value {
    let sql = "SELECT details FROM audit WHERE action = $1 AND result = 'done' ORDER BY id DESC LIMIT 1";
    sqlx::query_scalar(sql).bind(action).fetch_one(&mut db.psql().await).await.unwrap()
}

#[tokio::test]
async fn freeze__holds_a_start_until_it_is_lifted() {
    let env = DeployApi::serve(json!({"branch": "main"})).await;
    let (db, api) = (&env.db, &env.api);
    let id = freeze(api, "region:ap-northeast-2", "starts").await;
    let second = freeze(api, "repository:acme/shop", "both").await;
    freeze(api, "owner:toys", "both").await;
    let made = env.deploy(&json!({}), None).await.data(STARTED);
    let deployment = made["deploymentId"].as_str().unwrap();
    assert_eq!(
        (&made["queuePosition"], &made["heldBy"]["freezeId"]),
        (&json!(1), &json!(second)),
        "the one that ends last"
    );
    let held = result(api, deployment).await["heldBy"].clone();
    assert_eq!(held, made["heldBy"]);
    assert_eq!((&held["held"], &held["reason"]), (&json!("start"), &json!("Christmas sale")));
    assert!(held["until"].is_string() && held["createdBy"].is_string(), "{held}");
    // No replica starts it, and each freeze that holds it is an event once.
    for _ in 0..3 {
        assert!(db.db.start_queued_deployments().await.unwrap().is_empty());
    }
    assert_eq!(codes(db, deployment).await, ["deployment_frozen"]);
    lift(api, &second).await;
    assert_eq!(result(api, deployment).await["heldBy"]["freezeId"], json!(id));
    assert_eq!(codes(db, deployment).await, ["deployment_frozen"; 2], "the other freeze holds it now");
    let mut work = db.db.listen(WORK_CHANNEL).await.unwrap();
    lift(api, &id).await;
    let received = tokio::time::timeout(WAIT_LIMIT, work.recv()).await.unwrap().unwrap();
    assert_eq!(received.payload(), deployment, "it starts without another trigger");
    let row = result(api, deployment).await;
    assert_eq!((&row["heldBy"], &row["queuePosition"]), (&Value::Null, &Value::Null));
}

#[tokio::test]
async fn freeze__not_in_force_or_elsewhere_holds_nothing() {
    let env = DeployApi::serve(json!({"branch": "main"})).await;
    for scope in ["account:999999999999", "region:eu-west-1", "owner:toys", "repository:acme/other"] {
        freeze(&env.api, scope, "both").await;
    }
    freeze(&env.api, "all", "switches").await;
    let later = json!({"scope": "all", "reason": "x", "startsAt": ahead(30), "endsAt": ahead(60)});
    assert_eq!(env.api.post("/api/v1/freezes", &later).await.status, 200);
    let made = env.deploy(&json!({}), None).await.data(STARTED);
    assert!(made.get("queuePosition").is_none() && made.get("heldBy").is_none(), "{made}");
}

#[tokio::test]
async fn freeze__start_overridden_by_an_approver_with_a_reason() {
    let db = TestDb::new().await;
    let api = serve(&db.db).await;
    let (github, aws) = fixture::connections(&db.db).await;
    let admin = Token::of(&db.db, Role::Admin).await;
    let frozen = json!({"scope": "all", "reason": "sale", "endsAt": ahead(60)});
    let frozen = admin.post(&api, "/api/v1/freezes", &frozen).await.json()["data"]["freezeId"].clone();
    let body = |freeze_override: Value| {
        json!({"githubConnectionId": github, "awsConnectionId": aws, "owner": "acme", "repo": "shop", "branch": "main",
               "concurrency": "queue", "override": freeze_override})
    };
    let path = "/api/v1/deploy";
    let (deployer, approver) = (Token::of(&db.db, Role::Deployer).await, Token::of(&db.db, Role::Approver).await);
    deployer.post(&api, path, &body(json!({"reason": "urgent"}))).await.problem(403, "NOT_ALLOWED");
    for (given, field) in [
        (json!({}), "override.reason"),
        (json!({"reason": ""}), "override.reason"),
        (json!({"reason": "x".repeat(501)}), "override.reason"),
        (json!({"reason": "x", "role": "y"}), "override.role"),
        (json!("urgent"), "override"),
        (json!(["urgent"]), "override"),
    ] {
        assert_eq!(
            approver.post(&api, path, &body(given.clone())).await.refused_field("INVALID_FIELD"),
            field,
            "{given}"
        );
    }
    let waiting = deployer.post(&api, path, &body(Value::Null)).await.data(STARTED);
    assert_eq!(waiting["heldBy"]["freezeId"], frozen);
    // It passes those that wait for the freeze's end.
    let made = approver.post(&api, path, &body(json!({"reason": "checkout is down"}))).await.data(STARTED);
    let id = made["deploymentId"].as_str().unwrap();
    assert!(made.get("queuePosition").is_none() && made.get("heldBy").is_none(), "{made}");
    let events = db.db.events_after(id, 0, 10).await.unwrap();
    assert_eq!((events.len(), events[0].code.as_str()), (1, "freeze_overridden"));
    let rendered = events[0].render(panda::domain::catalogue::Lang::En).message;
    assert_eq!(rendered, "[Stage 1] A freeze (sale) was overridden by approver-test: checkout is down");
    assert_eq!(details(&db, "deploy").await["override"], json!({"freeze": frozen, "reason": "checkout is down"}));
    // A second one waits for the first, and not for the freeze.
    let next = approver.post(&api, path, &body(json!({"reason": "once more"}))).await.data(STARTED);
    assert!(next["queuePosition"].is_number() && next.get("heldBy").is_none(), "{next}");
    let end = "UPDATE deployments SET status = 'FAILED', error_code = 'X', completed_at = now() WHERE id = $1";
    sqlx::query(end).bind(id).execute(&mut db.psql().await).await.unwrap();
    assert_eq!(db.db.start_queued_deployments().await.unwrap(), [next["deploymentId"].as_str().unwrap()]);
}

#[tokio::test]
async fn freeze__holds_the_turn_of_a_queued_deployment() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut first = Fixture::begin(&db.db).await;
    let second = Fixture::queue_behind(&db.db, &first).await;
    let frozen = freeze(&api, "owner:acme", "starts").await;
    first.fail().await;
    assert!(db.db.start_queued_deployments().await.unwrap().is_empty());
    assert_eq!(codes(&db, &second).await, ["deployment_queued", "deployment_frozen"]);
    // Replicas that find the end of the freeze at the same time start it once.
    let end = "UPDATE freezes SET ends_at = starts_at + interval '1 microsecond' WHERE id = $1";
    sqlx::query(end).bind(&frozen).execute(&mut db.psql().await).await.unwrap();
    let started = tokio::join!(db.db.start_queued_deployments(), db.db.start_queued_deployments());
    assert_eq!([started.0.unwrap(), started.1.unwrap()].concat(), [second]);
}

#[tokio::test]
async fn freeze__refuses_a_switch_unless_overridden() {
    let db = TestDb::new().await;
    let api = serve(&db.db).await;
    let approver = Token::of(&db.db, Role::Approver).await;
    let mut ready = Fixture::begin(&db.db).await;
    ready.ready().await;
    let admin = Token::of(&db.db, Role::Admin).await;
    let body = json!({"scope": "all", "holds": "switches", "reason": "Christmas sale", "endsAt": ahead(60)});
    let frozen = admin.post(&api, "/api/v1/freezes", &body).await.json()["data"].clone();
    let path = format!("/api/v1/deploy/{}/switch", ready.id());
    let problem = approver.post(&api, &path, &json!({})).await.problem(409, "SWITCH_FROZEN");
    let detail = problem["detail"].as_str().unwrap();
    for part in [&frozen["freezeId"], &frozen["reason"], &frozen["endsAt"], &frozen["createdBy"]] {
        assert!(detail.contains(part.as_str().unwrap()), "{part}: {detail}");
    }
    assert_eq!(problem["deploymentId"], ready.id());
    let sql = "SELECT count(*) FROM audit WHERE action = 'switch' AND result = 'refused' AND details ->> 'message' LIKE '%Christmas sale%'";
    let refused: i64 = sqlx::query_scalar(sql).fetch_one(&mut db.psql().await).await.unwrap();
    assert_eq!(refused, 1, "rejected approvals are recorded");
    assert!(db.db.deployment(ready.id()).await.unwrap().unwrap().switch_requested_at.is_none());
    let held =
        approver.get(&api, &format!("/api/v1/deploy/{}/result", ready.id())).await.data(RESULT)["heldBy"].clone();
    assert_eq!((&held["held"], &held["freezeId"]), (&json!("switch"), &frozen["freezeId"]));

    for given in [json!("x"), json!({}), json!([]), json!({"reason": 1}), json!({"reason": "x", "y": 1})] {
        let refused = approver.post(&api, &path, &json!({"override": given})).await;
        assert_eq!(refused.refused_field("INVALID_FIELD"), "override");
    }
    let empty = approver.post(&api, &path, &json!({"override": {"reason": ""}})).await;
    assert_eq!(empty.refused_field("INVALID_FIELD"), "override.reason");
    approver.post(&api, &path, &json!({"override": {"reason": "checkout is down"}})).await.data(SWITCHED);
    let overridden = json!({"freeze": frozen["freezeId"], "reason": "checkout is down"});
    assert_eq!(details(&db, "switch").await, json!({"override": overridden}));
    assert_eq!(codes(&db, ready.id()).await.last().unwrap(), "freeze_overridden");
    // The replica's commits count on from there.
    ready.claim_again().await;
    ready.complete().await;
    let events = db.db.events_after(ready.id(), 0, 100).await.unwrap();
    assert_eq!(events.iter().map(|event| event.seq).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn freeze__keeps_a_switch_that_was_requested_before() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut ready = Fixture::begin(&db.db).await;
    ready.ready().await;
    let path = format!("/api/v1/deploy/{}/switch", ready.id());
    api.post(&path, &json!({})).await.data(SWITCHED);
    freeze(&api, "all", "both").await;
    api.post(&path, &json!({})).await.data(SWITCHED);
    assert_eq!(result(&api, ready.id()).await["heldBy"], Value::Null);
    // A deployment that is not ready is refused for that reason.
    let running = create(&db.db, "acme", "toys", "123456789013", panda::domain::deployment::Concurrency::Reject).await;
    api.post(&format!("/api/v1/deploy/{running}/switch"), &json!({})).await.problem(409, "SWITCH_NOT_READY");
}

#[tokio::test]
async fn freeze__holds_a_retry_unless_overridden() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut failed = Fixture::begin(&db.db).await;
    failed.fail().await;
    let frozen = freeze(&api, "owner:acme", "starts").await;
    let path = format!("/api/v1/deploy/{}/retry", failed.id());
    assert_eq!(api.post(&path, &json!({})).await.status, 200);
    let row = result(&api, failed.id()).await;
    assert_eq!(
        (&row["queuePosition"], &row["heldBy"]["freezeId"], &row["attempt"]),
        (&json!(1), &json!(frozen), &json!(2))
    );
    assert_eq!(codes(&db, failed.id()).await.last().unwrap(), "deployment_frozen");
    lift(&api, &frozen).await;
    assert_eq!(result(&api, failed.id()).await["queuePosition"], Value::Null);

    let mut other = Fixture::begin_of(&db.db, "acme", "toys").await;
    other.fail().await;
    let frozen = freeze(&api, "all", "both").await;
    let path = format!("/api/v1/deploy/{}/retry", other.id());
    assert_eq!(api.post(&path, &json!({"override": {"reason": "urgent"}})).await.status, 200);
    let row = result(&api, other.id()).await;
    assert_eq!((&row["queuePosition"], &row["heldBy"]), (&Value::Null, &Value::Null));
    assert_eq!(details(&db, "retry").await["override"]["freeze"], json!(frozen));
}

#[tokio::test]
async fn freeze__refuses_a_retry_that_may_continue_a_switch() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut failed = Fixture::begin(&db.db).await;
    failed.ready().await;
    db.db.request_switch(failed.id()).await.unwrap();
    failed.claim_again().await;
    failed.fail().await;
    freeze(&api, "all", "switches").await;
    let path = format!("/api/v1/deploy/{}/retry", failed.id());
    api.post(&path, &json!({})).await.problem(409, "SWITCH_FROZEN");
    assert_eq!(result(&api, failed.id()).await["attempt"], json!(1));
    assert_eq!(api.post(&path, &json!({"override": {"reason": "urgent"}})).await.status, 200);
}

fn digest(of: char) -> String {
    format!("sha256:{}", String::from(of).repeat(64))
}

#[tokio::test]
async fn freeze__never_holds_a_rollback() {
    let env = DeployApi::serve(json!({"branch": "main"})).await;
    let (db, api) = (&env.db, &env.api);
    let mut releases = Vec::new();
    for image in ['a', 'b'] {
        let mut release = Fixture::begin_at(&db.db, "acme", "shop", "123456789012").await;
        release.learn(Facts { image_digest: Some(digest(image)), ..Facts::default() }).await;
        release.complete().await;
        releases.push(release);
    }
    freeze(api, "all", "both").await;
    let waiting = env.deploy(&json!({}), None).await.data(STARTED);
    assert!(waiting["heldBy"].is_object());
    // A purpose is anyone's word: only an image that was live returns.
    for source in [json!({"branch": "main"}), json!({"image": digest('c')})] {
        let mut named = source.clone();
        (named["kind"], named["concurrency"]) = (json!("rollback"), json!("queue"));
        if source.get("image").is_some() {
            named["branch"] = Value::Null;
        }
        assert!(env.deploy(&named, None).await.data(STARTED)["heldBy"].is_object(), "{source}");
    }
    let path = format!("/api/v1/deploy/{}/rollback", releases[1].id());
    let back = api.post(&path, &json!({})).await.data("롤백이 시작되었습니다.");
    assert_eq!((&back["how"], &back["queuePosition"]), (&json!("new_deployment"), &Value::Null), "it starts now");
    let id = back["deploymentId"].as_str().unwrap();
    assert_eq!(result(api, id).await["heldBy"], Value::Null);
    let ready = "UPDATE deployments SET status = 'DEPLOYMENT_READY', ready_at = now() WHERE id = $1";
    sqlx::query(ready).bind(id).execute(&mut db.psql().await).await.unwrap();
    api.post(&format!("/api/v1/deploy/{id}/switch"), &json!({})).await.data(SWITCHED);
    // The same by hand, behind it.
    let named = json!({"branch": null, "image": digest('a'), "kind": "rollback", "concurrency": "queue"});
    let by_hand = env.deploy(&named, None).await.data(STARTED);
    assert!(by_hand.get("heldBy").is_none() && by_hand["queuePosition"].is_number(), "{by_hand}");
    let end = "UPDATE deployments SET status = 'COMPLETED', completed_at = now() WHERE id = $1";
    sqlx::query(end).bind(id).execute(&mut db.psql().await).await.unwrap();
    assert_eq!(db.db.start_queued_deployments().await.unwrap(), [by_hand["deploymentId"].as_str().unwrap()]);
}

#[tokio::test]
async fn freeze__schedule_waits_for_its_end() {
    let env = DeployApi::serve(json!({"branch": "main"})).await;
    let frozen = freeze(&env.api, "repository:acme/shop", "starts").await;
    let schedule = json!({"cron": "@yearly", "deploy": env.body(&json!({}))});
    let schedule = env.api.post("/api/v1/schedules", &schedule).await.json()["data"]["scheduleId"].clone();
    let path = format!("/api/v1/schedules/{}/run", schedule.as_str().unwrap());
    let run = Answer::of(env.api.request(Method::POST, &path).send().await.unwrap()).await.json()["data"].clone();
    assert_eq!(run["heldBy"]["freezeId"], json!(frozen), "{run}");
}
