//! `PUT /api/v1/deploy/{id}/outcome`: decides how the DORA figures count a deployment.

use panda::domain::principal::Role;
use pretty_assertions::assert_eq;
use reqwest::Method;
use serde_json::{Value, json};

use crate::http::auth::{Token, serve};
use crate::http::{Answer, Api, Fixture};
use crate::report::lines;
use crate::support::commands::Commands;
use crate::support::db::TestDb;

async fn mark(api: &Api, token: &Token, id: &str, body: &Value) -> Answer {
    let request = token.request(api, Method::PUT, &format!("/api/v1/deploy/{id}/outcome")).json(body);
    Answer::of(request.send().await.unwrap()).await
}

#[tokio::test]
async fn outcome__decides_how_the_deployment_counts() {
    let db = TestDb::new().await;
    let api = serve(&db.db).await;
    let deployer = Token::of(&db.db, Role::Deployer).await;
    let mut fixture = Fixture::begin_of(&db.db, "acme", "shop").await;
    fixture.ready().await;
    let id = fixture.id().to_owned();
    mark(&api, &deployer, &id, &json!({"outcome": "failed"})).await.problem(409, "NOT_LIVE");
    db.db.request_switch(&id).await.unwrap();
    fixture.claim_again().await;
    fixture.complete().await;

    let psql = &mut db.psql().await;
    let judged = "SELECT failed, rework, marked FROM panda_report.dora_occurrences_v2";
    assert_eq!(lines(psql, judged).await, ["false|false|"]);
    let reason = "checkout answered 500";
    let data = mark(&api, &deployer, &id, &json!({"outcome": "failed", "reason": reason})).await;
    assert_eq!(data.data("배포 결과가 표시되었습니다."), json!({"deploymentId": id, "outcome": "failed"}));
    assert_eq!(lines(psql, judged).await, ["true|false|failed"]);
    let kept = "SELECT action, subject, details ->> 'outcome', details ->> 'reason' FROM audit WHERE action = 'outcome' AND result = 'done'";
    assert_eq!(lines(psql, kept).await, [format!("outcome|deployer-test|failed|{reason}")]);
    mark(&api, &deployer, &id, &json!({"outcome": "rework"})).await.data("배포 결과가 표시되었습니다.");
    assert_eq!(lines(psql, judged).await, ["false|true|rework"]);

    let result = deployer.get(&api, &format!("/api/v1/deploy/{id}/result")).await.data("배포 결과 조회 성공");
    assert!(result["outcome"] == "rework" && result["trafficMovedAt"] == result["completedAt"], "{result}");

    // A rollback that follows makes it a failed one, unless it is marked otherwise.
    mark(&api, &deployer, &id, &json!({"outcome": "ok"})).await.data("배포 결과가 표시되었습니다.");
    assert_eq!(lines(psql, judged).await, ["false|false|ok"]);
}

#[tokio::test]
async fn outcome__invalid_or_foreign_refused() {
    let db = TestDb::new().await;
    let api = serve(&db.db).await;
    let mut fixture = Fixture::begin_of(&db.db, "acme", "shop").await;
    fixture.fail().await;
    let id = fixture.id();
    let deployer = Token::of(&db.db, Role::Deployer).await;
    for (body, field) in [
        (json!({"outcome": "bad"}), "outcome"),
        (json!({"outcome": "ok", "reason": ""}), "reason"),
        (json!({"outcome": "ok", "reason": "x".repeat(501)}), "reason"),
    ] {
        assert_eq!(mark(&api, &deployer, id, &body).await.refused_field("INVALID_FIELD"), field, "{body}");
    }
    let body = json!({"outcome": "failed"});
    mark(&api, &deployer, id, &body).await.problem(409, "NOT_LIVE");
    mark(&api, &deployer, "dep_unknown", &body).await.problem(404, "DEPLOYMENT_NOT_FOUND");
    let elsewhere = Token::scoped(&db.db, Role::Deployer, &["other/*"]).await;
    mark(&api, &elsewhere, id, &body).await.problem(404, "DEPLOYMENT_NOT_FOUND");
    let viewer = Token::of(&db.db, Role::Viewer).await;
    mark(&api, &viewer, id, &body).await.problem(403, "NOT_ALLOWED");
}

#[tokio::test]
async fn outcome__archived_deployment_is_marked() {
    let db = TestDb::new().await;
    let api = serve(&db.db).await;
    let mut fixture = Fixture::begin_of(&db.db, "acme", "shop").await;
    fixture.complete().await;
    let mut failed = Fixture::begin_of(&db.db, "acme", "toys").await;
    failed.fail().await;
    let (id, never_live) = (fixture.id(), failed.id());
    assert_eq!(db.db.archive_deployments(&[id.to_owned(), never_live.to_owned()]).await.unwrap().len(), 2);
    let psql = &mut db.psql().await;
    let updated = "SELECT updated_at FROM panda_report.deployments_v1 ORDER BY updated_at DESC LIMIT 1";
    let before = lines(psql, updated).await;

    let body = json!({"outcome": "failed", "reason": "found later"});
    let elsewhere = Token::scoped(&db.db, Role::Deployer, &["other/*"]).await;
    mark(&api, &elsewhere, id, &body).await.problem(404, "DEPLOYMENT_NOT_FOUND");
    for deployer in [Token::of(&db.db, Role::Deployer).await, Token::scoped(&db.db, Role::Deployer, &["acme/*"]).await]
    {
        mark(&api, &deployer, never_live, &body).await.problem(409, "NOT_LIVE");
        mark(&api, &deployer, id, &body).await.data("배포 결과가 표시되었습니다.");
    }
    let judged = "SELECT deployment_id, failed, marked FROM panda_report.dora_occurrences_v2";
    assert_eq!(lines(psql, judged).await, [format!("{id}|true|failed")]);
    assert_ne!(lines(psql, updated).await, before, "loaders see it");
    let audited = "SELECT DISTINCT owner, repo, target FROM audit WHERE action = 'outcome' AND result = 'done'";
    assert_eq!(lines(psql, audited).await, [format!("acme|shop|{id}")]);
    db.db.rebuild_reports().await.unwrap();
    assert_eq!(lines(psql, judged).await, [format!("{id}|true|failed")]);
}
