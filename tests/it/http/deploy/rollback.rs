use panda::db::notify::WORK_CHANNEL;
use panda::domain::deployment::Facts;
use panda::domain::principal::Role;
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use crate::http::auth::{Token, serve};
use crate::http::{Api, Fixture};
use crate::support::WAIT_LIMIT;
use crate::support::db::TestDb;

const MESSAGE: &str = "롤백이 시작되었습니다.";

fn path(id: &str) -> String {
    format!("/api/v1/deploy/{id}/rollback")
}

fn digest(of: char) -> String {
    format!("sha256:{}", String::from(of).repeat(64))
}

/// A COMPLETED deployment of the account with this image; with `blue`, AWS can still take the traffic back.
async fn release(db: &TestDb, account: Option<&str>, image: char, blue: bool) -> Fixture {
    let mut made = match account {
        Some(account) => Fixture::begin_at(&db.db, "acme", "shop", account).await,
        None => Fixture::begin(&db.db).await,
    };
    let code_deploy_deployment_id = Some("d-ABCDEF123".to_owned());
    made.learn(Facts { image_digest: Some(digest(image)), code_deploy_deployment_id, ..Facts::default() }).await;
    if blue {
        made.switched().await;
    } else {
        made.complete().await;
    }
    made
}

#[tokio::test]
async fn rollback__at_aws_is_a_request_of_the_row() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let before = release(&db, None, 'a', false).await;
    let live = release(&db, Some(before.account()), 'b', true).await;
    let mut work = db.db.listen(WORK_CHANNEL).await.unwrap();
    let first = api.post(&path(live.id()), &json!({"reason": "checkout answers 500"})).await;
    let data = first.data(MESSAGE);
    assert_eq!((data["deploymentId"].as_str(), data["how"].as_str()), (Some(live.id()), Some("at_aws")));
    assert_eq!((data["to"].as_str(), data["imageDigest"].as_str()), (Some(before.id()), Some(digest('a').as_str())));
    let received = tokio::time::timeout(WAIT_LIMIT, work.recv()).await.unwrap().unwrap();
    assert_eq!(received.payload(), live.id());
    let row = db.db.deployment(live.id()).await.unwrap().unwrap();
    assert_eq!((row.status.as_str(), row.rollback_requested_at.is_some()), ("COMPLETED", true));
    // The same request, and the same version by name.
    assert_eq!(api.post(&path(live.id()), &json!({})).await.data(MESSAGE), data);
    assert_eq!(api.post(&path(live.id()), &json!({"to": before.id()})).await.data(MESSAGE), data);
    let again = db.db.deployment(live.id()).await.unwrap().unwrap();
    assert_eq!(again.rollback_requested_at, row.rollback_requested_at, "the first request's time is kept");
    let sql = "SELECT details FROM audit WHERE action = 'rollback' ORDER BY id LIMIT 1";
    let details: Value = sqlx::query_scalar(sql).fetch_one(&mut db.psql().await).await.unwrap();
    assert_eq!((details["reason"].as_str(), details["how"].as_str()), (Some("checkout answers 500"), Some("at_aws")));
    let result = api.get(&format!("/api/v1/deploy/{}/result", live.id())).await;
    assert!(result.data("배포 결과 조회 성공")["rollbackRequestedAt"].is_string());
}

#[tokio::test]
async fn rollback__two_approvers_start_one_deployment() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let before = release(&db, None, 'a', false).await;
    let live = release(&db, Some(before.account()), 'b', false).await;
    let body = json!({});
    let path = path(live.id());
    let (one, two) = tokio::join!(api.post(&path, &body), api.post(&path, &body));
    let (one, two) = (one.data(MESSAGE), two.data(MESSAGE));
    assert_eq!(one, two);
    assert_eq!((one["how"].as_str(), one["to"].as_str()), (Some("new_deployment"), Some(before.id())));
    let sql = "SELECT count(*) FROM deployments WHERE caused_by = $1";
    let count: i64 = sqlx::query_scalar(sql).bind(live.id()).fetch_one(&mut db.psql().await).await.unwrap();
    assert_eq!(count, 1);
    let id = one["deploymentId"].as_str().unwrap();
    let result = api.get(&format!("/api/v1/deploy/{id}/result")).await;
    let result = result.data("배포 결과 조회 성공");
    assert_eq!(result["causedBy"].as_str(), Some(live.id()));
    assert_eq!(
        (result["requested"]["kind"].as_str(), result["requested"]["image"].as_str()),
        (Some("rollback"), Some(digest('a').as_str()))
    );
}

#[tokio::test]
async fn rollback__to_another_version_conflicts_meanwhile() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let oldest = release(&db, None, 'a', false).await;
    let before = release(&db, Some(oldest.account()), 'b', false).await;
    let live = release(&db, Some(oldest.account()), 'c', true).await;
    api.post(&path(live.id()), &json!({"to": before.id()})).await.data(MESSAGE);
    let other = api.post(&path(live.id()), &json!({"to": oldest.id()})).await.problem(409, "ROLLBACK_IN_PROGRESS");
    assert_eq!(other["deploymentId"].as_str(), Some(live.id()));
}

#[tokio::test]
async fn rollback__refused_with_reason() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut running = Fixture::begin(&db.db).await;
    let early = api.post(&path(running.id()), &json!({})).await.problem(409, "ROLLBACK_NOT_COMPLETED");
    assert!(early["message"].as_str().unwrap().contains("/cancel"), "{early}");
    running.fail().await;
    api.post(&path(running.id()), &json!({})).await.problem(409, "ROLLBACK_NOT_COMPLETED");
    api.post(&path("dep_unknown"), &json!({})).await.problem(404, "DEPLOYMENT_NOT_FOUND");

    let before = release(&db, None, 'a', false).await;
    api.post(&path(before.id()), &json!({})).await.problem(409, "NO_EARLIER_RELEASE");
    let mut failed = Fixture::begin_at(&db.db, "acme", "shop", before.account()).await;
    failed.fail().await;
    let unknown_image = {
        let mut made = Fixture::begin_at(&db.db, "acme", "shop", before.account()).await;
        made.complete().await;
        made
    };
    let same = release(&db, Some(before.account()), 'b', false).await;
    let live = release(&db, Some(before.account()), 'b', false).await;
    let elsewhere = release(&db, None, 'c', false).await;
    let archived = release(&db, None, 'd', false).await;
    db.db.archive_deployments(&[archived.id().to_owned()]).await.unwrap();
    let stale = api.post(&path(before.id()), &json!({})).await.problem(409, "ROLLBACK_NOT_LIVE");
    assert_eq!(stale["deploymentId"].as_str(), Some(live.id()));
    for (to, says) in [
        ("", "must be the id"),
        ("dep_unknown", "there is no deployment"),
        (archived.id(), "is archived"),
        (elsewhere.id(), "another target"),
        (failed.id(), "is FAILED"),
        (unknown_image.id(), "no known image"),
        (same.id(), "the image that is live"),
        (live.id(), "the image that is live"),
    ] {
        let problem = api.post(&format!("{}?lang=en", path(live.id())), &json!({"to": to})).await;
        let problem = problem.problem(400, "INVALID_FIELD");
        assert_eq!(problem["field"], "to", "{problem}");
        assert!(problem["message"].as_str().unwrap().contains(says), "{to}: {problem}");
    }
    for (body, field) in [
        (json!({"to": 7}), "to"),
        (json!({"reason": ""}), "reason"),
        (json!({"reason": "x".repeat(5_000)}), "reason"),
        (json!({"target": "x"}), "target"),
        (json!([1]), "body"),
    ] {
        let problem = api.post(&path(live.id()), &body).await.problem(400, "INVALID_FIELD");
        assert_eq!(problem["field"], field, "{problem}");
    }
    let sql = "SELECT count(*) FROM deployments WHERE caused_by IS NOT NULL OR rollback_requested_at IS NOT NULL";
    let count: i64 = sqlx::query_scalar(sql).fetch_one(&mut db.psql().await).await.unwrap();
    assert_eq!(count, 0);
}

#[tokio::test]
async fn rollback__needs_an_approver() {
    let db = TestDb::new().await;
    let api = serve(&db.db).await;
    let before = release(&db, None, 'a', false).await;
    let live = release(&db, Some(before.account()), 'b', false).await;
    for role in [Role::Viewer, Role::Deployer] {
        let token = Token::of(&db.db, role).await;
        token.post(&api, &path(live.id()), &json!({})).await.problem(403, "NOT_ALLOWED");
    }
    let token = Token::of(&db.db, Role::Approver).await;
    token.post(&api, &path(live.id()), &json!({})).await.data(MESSAGE);
    // Nothing of another repository can be rolled back, or to.
    let scoped = Token::scoped(&db.db, Role::Approver, &["acme/site"]).await;
    scoped.post(&api, &path(live.id()), &json!({})).await.problem(404, "DEPLOYMENT_NOT_FOUND");
}

#[tokio::test]
async fn rollback__has_the_labels_of_the_request_that_it_rolls_back() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let before = release(&db, None, 'a', false).await;
    let live = release(&db, Some(before.account()), 'b', false).await;
    let sql = "UPDATE deployments SET requested_labels = '{\"team\": \"payments\"}' WHERE id = $1";
    sqlx::query(sql).bind(live.id()).execute(&mut db.psql().await).await.unwrap();
    let started = api.post(&path(live.id()), &json!({})).await.data(MESSAGE);
    let id = started["deploymentId"].as_str().unwrap();
    assert_ne!(id, live.id());
    let result = api.get(&format!("/api/v1/deploy/{id}/result")).await.data("배포 결과 조회 성공");
    assert_eq!(result["labels"], json!({"team": "payments"}));
}
