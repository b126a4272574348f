//! Settings and runs at `/api/v1/maintenance…`.

use panda::clients::docker::Docker;
use panda::domain::maintenance::RetentionKind;
use panda::domain::principal::Role;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Keeper, age, codes};
use crate::http::auth::{Token, serve};
use crate::http::{Answer, Api, ExternalServices, Fixture};
use crate::support::db::TestDb;
use crate::support::wait_for;

const RUNS: &str = "/api/v1/maintenance/runs";
const REQUESTED: &str = "보존 작업이 요청되었습니다.";

#[tokio::test]
async fn maintenance_api__settings_shown_to_admin() {
    let db = TestDb::new().await;
    let api = Api::serve_with(&db.db, &ExternalServices::default(), &["--retention-deployments=never"]).await;
    Keeper::of(&db.db, RetentionKind::Events, "180d").tick(1).await;
    let kinds = api.get("/api/v1/maintenance").await.data("보존 정책 조회 성공")["kinds"].clone();
    let kind = |name: &str| kinds.as_array().unwrap().iter().find(|kind| kind["kind"] == name).unwrap().clone();
    assert_eq!(kinds.as_array().unwrap().len(), 6);
    let lines = kind("build_lines");
    assert_eq!((&lines["keep"], &lines["cron"], &lines["lastRun"]), (&json!("30d"), &json!("7 2 * * *"), &Value::Null));
    assert!(lines["nextRun"].as_str().unwrap().contains("T02:07:00"), "{lines}");
    assert_eq!((&kind("deployments")["keep"], &kind("deployments")["nextRun"]), (&json!("never"), &Value::Null));
    assert_eq!(kind("workspaces")["keep"], Value::Null);
    let last = &kind("events")["lastRun"];
    assert_eq!((&last["state"], &last["place"], &last["replica"]), (&json!("done"), &Value::Null, &json!("here/1")));
}

#[tokio::test]
async fn maintenance_api__run_audited_and_dry_run_only_counts() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut fixture = Fixture::begin(&db.db).await;
    fixture.build_lines(1, 5).await;
    fixture.fail().await;
    age(&db, fixture.id(), 40).await;
    let docker = Docker::connect(Some("unix:///nonexistent")).unwrap();
    let keeper = Keeper::asked(&db.db, RetentionKind::BuildLines, "30d", "here/1", "/nonexistent".as_ref(), docker);
    let running = tokio::spawn(keeper.maintenance.clone().run(api.shutdown.clone()));

    let ended = async |body: &Value| {
        let asked = api.post(RUNS, body).await.data(REQUESTED);
        let id = asked["runs"][0].as_i64().unwrap();
        wait_for("the run ended", async || {
            let page = api.get(&format!("{RUNS}?id={id}")).await.data("보존 작업 조회 성공");
            Some(page["runs"][0].clone()).filter(|run| !run["endedAt"].is_null())
        })
        .await
    };
    let dry = ended(&json!({"kind": "build_lines", "dryRun": true})).await;
    assert_eq!((&dry["state"], &dry["removed"], &dry["dryRun"]), (&json!("done"), &json!(5), &json!(true)));
    assert_eq!(codes(&db, fixture.id()).await.len(), 6, "it only counts");
    let run = ended(&json!({"kind": "build_lines"})).await;
    assert_eq!((&run["state"], &run["removed"], &run["error"]), (&json!("done"), &json!(5), &Value::Null));
    assert_eq!(codes(&db, fixture.id()).await, ["build_failed"]);

    let entries = api.get("/api/v1/audit?action=maintenance.run").await.json()["data"]["entries"].clone();
    let details: Vec<_> = entries.as_array().unwrap().iter().map(|entry| &entry["details"]).collect();
    assert_eq!(
        details,
        [&json!({"kind": "build_lines", "dryRun": false}), &json!({"kind": "build_lines", "dryRun": true})]
    );
    assert_eq!(entries[0]["target"], "build_lines");
    api.shutdown.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn maintenance_api__repeated_key_starts_one_run() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let ask = async |body: Value| {
        Answer::of(api.request(Method::POST, RUNS).header("idempotency-key", "k1").json(&body).send().await.unwrap())
            .await
    };
    let first = ask(json!({"kind": "events"})).await.data(REQUESTED);
    assert_eq!(ask(json!({"kind": "events"})).await.data(REQUESTED), first);
    ask(json!({"kind": "runs"})).await.problem(422, "IDEMPOTENCY_KEY_REUSED");
    assert_eq!(api.get(RUNS).await.json()["data"]["runs"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn maintenance_api__invalid_fields_named() {
    let db = TestDb::new().await;
    let api = Api::serve_with(&db.db, &ExternalServices::default(), &["--retention-events=never"]).await;
    for (body, field) in [
        (json!({"kind": "logs"}), "kind"),
        (json!({}), "kind"),
        (json!({"kind": "events", "dryrun": true}), "dryrun"),
        (json!({"kind": "runs", "dryRun": "yes"}), "dryRun"),
    ] {
        assert_eq!(api.post(RUNS, &body).await.refused_field("INVALID_FIELD"), field, "{body}");
    }
    let never = api.post(RUNS, &json!({"kind": "events"})).await.problem(400, "INVALID_FIELD");
    assert!(never["message"].as_str().unwrap().contains("PANDA_RETENTION_EVENTS"), "{never}");
    for (query, field) in
        [("kind=logs", "kind"), ("id=x", "id"), ("cursor=x", "cursor"), ("limit=0", "limit"), ("limti=1", "limti")]
    {
        assert_eq!(api.get(&format!("{RUNS}?{query}")).await.refused_field("INVALID_FIELD"), field);
    }
}

#[tokio::test]
async fn maintenance_api__runs_paged() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let (lines, events) =
        (Keeper::of(&db.db, RetentionKind::BuildLines, "30d"), Keeper::of(&db.db, RetentionKind::Events, "30d"));
    for minute in 1..=2 {
        lines.tick(minute).await;
        events.tick(minute).await;
    }
    let (mut path, mut seen) = (format!("{RUNS}?limit=3"), Vec::new());
    loop {
        let page = api.get(&path).await.data("보존 작업 조회 성공");
        seen.extend(page["runs"].as_array().unwrap().iter().map(|run| run["id"].as_i64().unwrap()));
        let Some(cursor) = page["nextCursor"].as_str() else { break };
        path = format!("{RUNS}?limit=3&cursor={cursor}");
    }
    assert_eq!(seen.len(), 4);
    assert!(seen.is_sorted_by(|a, b| a > b), "newest first, each once: {seen:?}");
    let of_a_kind = api.get(&format!("{RUNS}?kind=events")).await.json();
    assert_eq!(of_a_kind["data"]["runs"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn maintenance_api__only_unscoped_admin() {
    let db = TestDb::new().await;
    let api = serve(&db.db).await;
    let body = json!({"kind": "events"});
    for role in [Role::Viewer, Role::Deployer, Role::Approver] {
        let token = Token::of(&db.db, role).await;
        token.get(&api, "/api/v1/maintenance").await.problem(403, "NOT_ALLOWED");
        token.get(&api, RUNS).await.problem(403, "NOT_ALLOWED");
        token.post(&api, RUNS, &body).await.problem(403, "NOT_ALLOWED");
    }
    let admin = Token::of(&db.db, Role::Admin).await;
    assert_eq!(admin.get(&api, "/api/v1/maintenance").await.status, 200);
    assert_eq!(admin.post(&api, RUNS, &body).await.status, 200);
    let scoped = Token::scoped(&db.db, Role::Admin, &["acme/shop"]).await;
    scoped.post(&api, RUNS, &body).await.problem(403, "OUT_OF_SCOPE");
    let refusals = admin.get(&api, "/api/v1/audit?action=maintenance.run").await.json();
    let results: Vec<_> =
        refusals["data"]["entries"].as_array().unwrap().iter().map(|entry| entry["result"].as_str().unwrap()).collect();
    assert_eq!(results.iter().filter(|result| **result == "refused").count(), 4, "{refusals}");
}
