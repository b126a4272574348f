use panda::db::notify::WORK_CHANNEL;
use serde_json::json;

use crate::http::{Api, Story};
use crate::support::SOON;
use crate::support::db::TestDb;

const MESSAGE: &str = "배포 전환이 시작되었습니다.";

fn path(id: &str) -> String {
    format!("/api/v1/deploy/{id}/switch")
}

#[tokio::test]
async fn a_ready_deployment_is_switched_and_a_repeat_answers_the_same() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut story = Story::begin(&db.db).await;
    story.ready().await;
    let mut work = db.db.listen(WORK_CHANNEL).await.unwrap();
    let first = api.post(&path(story.id()), &json!({})).await;
    let data = first.data(MESSAGE);
    assert_eq!(data["deploymentId"], story.id());
    assert_eq!((data["activeService"].as_str(), data["switchStatus"].as_str()), (Some("green"), Some("IN_PROGRESS")));
    assert!(data["message"].is_string() && data.as_object().unwrap().len() == 4);
    let told = tokio::time::timeout(SOON, work.recv()).await.unwrap().unwrap();
    assert_eq!(told.payload(), story.id());
    let wished = db.db.deployment(story.id()).await.unwrap().unwrap().switch_requested_at.unwrap();
    assert_eq!(api.post(&path(story.id()), &json!({})).await.text, first.text);
    let again = db.db.deployment(story.id()).await.unwrap().unwrap();
    assert_eq!(again.switch_requested_at, Some(wished), "the first wish counts");
    assert_eq!(again.status, "DEPLOYMENT_READY", "a handler writes wishes, never a status");
}

#[tokio::test]
async fn a_deployment_that_cannot_be_switched_says_why() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut story = Story::begin(&db.db).await;
    story.build_lines(1, 1).await;
    let problem = api.post(&path(story.id()), &json!({})).await.problem(409, "SWITCH_NOT_READY");
    assert_eq!((problem["deploymentId"].as_str(), problem["stage"].as_i64()), (Some(story.id()), Some(1)));
    assert!(problem["message"].as_str().unwrap().contains("DEPLOYMENT_READY"));

    story.ready().await;
    api.post(&path(story.id()), &json!({})).await.data(MESSAGE);
    story.claim_again().await;
    story.complete().await;
    api.post(&path(story.id()), &json!({})).await.problem(409, "ALREADY_SWITCHED");

    let mut failed = Story::begin(&db.db).await;
    failed.fail().await;
    api.post(&path(failed.id()), &json!({})).await.problem(409, "DEPLOYMENT_FAILED");
    api.post(&path("dep_unknown"), &json!({})).await.problem(404, "DEPLOYMENT_NOT_FOUND");
}
