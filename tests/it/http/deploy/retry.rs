use panda::db::notify::WORK_CHANNEL;
use pretty_assertions::assert_eq;
use reqwest::Method;
use serde_json::json;

use crate::http::{Api, Fixture, Reader};
use crate::support::WAIT_LIMIT;
use crate::support::db::TestDb;

const MESSAGE: &str = "배포 재시도가 시작되었습니다.";

fn path(id: &str) -> String {
    format!("/api/v1/deploy/{id}/retry")
}

#[tokio::test]
async fn retry__adds_attempt_and_keeps_previous_readable() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut fixture = Fixture::begin(&db.db).await;
    fixture.build_lines(1, 3).await;
    fixture.fail().await;
    let mut work = db.db.listen(WORK_CHANNEL).await.unwrap();
    let answer = api.post(&path(fixture.id()), &json!({})).await;
    let data = answer.data(MESSAGE);
    assert_eq!((data["deploymentId"].as_str(), data["status"].as_str()), (Some(fixture.id()), Some("RUNNING")));
    let received = tokio::time::timeout(WAIT_LIMIT, work.recv()).await.unwrap().unwrap();
    assert_eq!(received.payload(), fixture.id());
    let result = api.get(&format!("/api/v1/deploy/{}/result", fixture.id())).await;
    let result = result.data("배포 결과 조회 성공");
    assert_eq!((result["status"].as_str(), result["attempt"].as_i64()), (Some("RUNNING"), Some(2)));
    assert!(result["errorCode"].is_null() && result["completedAt"].is_null(), "{result}");
    let past = result["attempts"].as_array().unwrap();
    assert_eq!(past.len(), 1);
    assert_eq!((past[0]["attempt"].as_i64(), past[0]["errorCode"].as_str()), (Some(1), Some("BUILD_FAILED")));
    assert_eq!(result["eventCount"].as_i64(), Some(4), "its events stay");
}

#[tokio::test]
async fn retry__refused_unless_failed() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut fixture = Fixture::begin(&db.db).await;
    let problem = api.post(&path(fixture.id()), &json!({})).await.problem(409, "RETRY_NOT_FAILED");
    assert!(problem["message"].as_str().unwrap().contains("RUNNING"));
    fixture.complete().await;
    let problem = api.post(&path(fixture.id()), &json!({})).await.problem(409, "RETRY_NOT_FAILED");
    assert!(problem["message"].as_str().unwrap().contains("COMPLETED"));
    api.post(&path("dep_unknown"), &json!({})).await.problem(404, "DEPLOYMENT_NOT_FOUND");
}

#[tokio::test]
async fn retry__busy_target_names_its_deployment() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut failed = Fixture::begin(&db.db).await;
    failed.fail().await;
    let holder = Fixture::begin_at(&db.db, "acme", "shop", failed.account()).await;
    let problem = api.post(&path(failed.id()), &json!({})).await.problem(409, "TARGET_TAKEN");
    assert_eq!(problem["deploymentId"], holder.id());
}

#[tokio::test]
async fn retry__repeated_key_begins_one_attempt() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut fixture = Fixture::begin(&db.db).await;
    fixture.fail().await;
    let send = async || {
        let request = api.request(Method::POST, &path(fixture.id())).header("Idempotency-Key", "again");
        request.json(&json!({})).send().await.unwrap().text().await.unwrap()
    };
    let (first, second) = (send().await, send().await);
    assert_eq!(first, second);
    assert_eq!(db.db.deployment(fixture.id()).await.unwrap().unwrap().attempt, 2);
}

#[tokio::test]
async fn retry__open_stream_continues_with_new_attempt() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut fixture = Fixture::begin(&db.db).await;
    fixture.build_lines(1, 1).await;
    fixture.fail().await;
    let mut reader = Reader::open(api.request(Method::GET, &format!("/api/v1/deploy/{}/events", fixture.id()))).await;
    assert_eq!(reader.next().await.unwrap().event, "stage");
    assert_eq!(reader.next().await.unwrap().event, "fail");
    api.post(&path(fixture.id()), &json!({})).await.data(MESSAGE);
    let mut again = fixture.retried().await;
    again.build_lines(1, 1).await;
    api.hub.notify(again.id());
    assert_eq!(reader.next().await.unwrap().event, "stage", "the same line of another attempt is emitted");
}
