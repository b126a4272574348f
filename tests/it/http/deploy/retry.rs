use panda::db::notify::WORK_CHANNEL;
use pretty_assertions::assert_eq;
use reqwest::Method;
use serde_json::json;

use crate::http::{Api, Reader, Story};
use crate::support::SOON;
use crate::support::db::TestDb;

const MESSAGE: &str = "배포 재시도가 시작되었습니다.";

fn path(id: &str) -> String {
    format!("/api/v1/deploy/{id}/retry")
}

#[tokio::test]
async fn a_failed_deployment_gets_another_attempt_and_the_last_one_stays_readable() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut story = Story::begin(&db.db).await;
    story.build_lines(1, 3).await;
    story.fail().await;
    let mut work = db.db.listen(WORK_CHANNEL).await.unwrap();
    let answer = api.post(&path(story.id()), &json!({})).await;
    let data = answer.data(MESSAGE);
    assert_eq!((data["deploymentId"].as_str(), data["status"].as_str()), (Some(story.id()), Some("RUNNING")));
    let told = tokio::time::timeout(SOON, work.recv()).await.unwrap().unwrap();
    assert_eq!(told.payload(), story.id());
    let result = api.get(&format!("/api/v1/deploy/{}/result", story.id())).await;
    let result = result.data("배포 결과 조회 성공");
    assert_eq!((result["status"].as_str(), result["attempt"].as_i64()), (Some("RUNNING"), Some(2)));
    assert!(result["errorCode"].is_null() && result["completedAt"].is_null(), "{result}");
    let past = result["attempts"].as_array().unwrap();
    assert_eq!(past.len(), 1);
    assert_eq!((past[0]["attempt"].as_i64(), past[0]["errorCode"].as_str()), (Some(1), Some("BUILD_FAILED")));
    assert_eq!(result["eventCount"].as_i64(), Some(4), "its events stay");
}

#[tokio::test]
async fn what_has_not_failed_cannot_be_tried_again() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut story = Story::begin(&db.db).await;
    let problem = api.post(&path(story.id()), &json!({})).await.problem(409, "RETRY_NOT_FAILED");
    assert!(problem["message"].as_str().unwrap().contains("RUNNING"));
    story.complete().await;
    let problem = api.post(&path(story.id()), &json!({})).await.problem(409, "RETRY_NOT_FAILED");
    assert!(problem["message"].as_str().unwrap().contains("COMPLETED"));
    api.post(&path("dep_unknown"), &json!({})).await.problem(404, "DEPLOYMENT_NOT_FOUND");
}

#[tokio::test]
async fn a_retry_whose_target_is_taken_names_who_has_it() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut failed = Story::begin(&db.db).await;
    failed.fail().await;
    let holder = Story::begin_at(&db.db, "acme", "shop", failed.account()).await;
    let problem = api.post(&path(failed.id()), &json!({})).await.problem(409, "TARGET_TAKEN");
    assert_eq!(problem["deploymentId"], holder.id());
}

#[tokio::test]
async fn a_retry_that_is_sent_again_under_its_key_begins_one_attempt() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut story = Story::begin(&db.db).await;
    story.fail().await;
    let send = async || {
        let request = api.request(Method::POST, &path(story.id())).header("Idempotency-Key", "again");
        request.json(&json!({})).send().await.unwrap().text().await.unwrap()
    };
    let (first, second) = (send().await, send().await);
    assert_eq!(first, second);
    assert_eq!(db.db.deployment(story.id()).await.unwrap().unwrap().attempt, 2);
}

#[tokio::test]
async fn an_open_stream_goes_on_with_the_new_attempt() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut story = Story::begin(&db.db).await;
    story.build_lines(1, 1).await;
    story.fail().await;
    let mut reader = Reader::open(api.request(Method::GET, &format!("/api/v1/deploy/{}/events", story.id()))).await;
    assert_eq!(reader.next().await.unwrap().event, "stage");
    assert_eq!(reader.next().await.unwrap().event, "fail");
    api.post(&path(story.id()), &json!({})).await.data(MESSAGE);
    let mut again = story.retried().await;
    again.build_lines(1, 1).await;
    api.hub.nudge(again.id());
    assert_eq!(reader.next().await.unwrap().event, "stage", "the same line of another attempt is told");
}
