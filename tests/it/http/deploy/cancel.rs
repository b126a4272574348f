use panda::db::notify::WORK_CHANNEL;
use serde_json::json;

use crate::http::{Api, Story};
use crate::support::SOON;
use crate::support::db::TestDb;

const MESSAGE: &str = "배포 취소가 시작되었습니다.";

fn path(id: &str) -> String {
    format!("/api/v1/deploy/{id}/cancel")
}

#[tokio::test]
async fn a_wish_to_cancel_is_kept_told_and_repeated_without_effect() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let story = Story::begin(&db.db).await;
    let mut work = db.db.listen(WORK_CHANNEL).await.unwrap();
    let first = api.post(&path(story.id()), &json!({})).await;
    let data = first.data(MESSAGE);
    assert_eq!((data["deploymentId"].as_str(), data["cancelStatus"].as_str()), (Some(story.id()), Some("IN_PROGRESS")));
    assert!(data["message"].is_string() && data.as_object().unwrap().len() == 3);
    let told = tokio::time::timeout(SOON, work.recv()).await.unwrap().unwrap();
    assert_eq!(told.payload(), story.id());
    let sql = "SELECT cancel_requested_at FROM deployments";
    let wished: chrono::DateTime<chrono::Utc> = sqlx::query_scalar(sql).fetch_one(&mut db.psql().await).await.unwrap();
    assert_eq!(api.post(&path(story.id()), &json!({})).await.text, first.text);
    let again: chrono::DateTime<chrono::Utc> = sqlx::query_scalar(sql).fetch_one(&mut db.psql().await).await.unwrap();
    assert_eq!(again, wished, "the first wish counts");
    let view = db.db.deployment(story.id()).await.unwrap().unwrap();
    assert_eq!(view.status, "RUNNING", "a handler writes wishes, never a status");
}

#[tokio::test]
async fn a_deployment_that_is_being_cancelled_cannot_be_switched() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut story = Story::begin(&db.db).await;
    story.ready().await;
    api.post(&path(story.id()), &json!({})).await.data(MESSAGE);
    let switch = format!("/api/v1/deploy/{}/switch", story.id());
    api.post(&switch, &json!({})).await.problem(409, "DEPLOYMENT_CANCELLING");
}

#[tokio::test]
async fn what_has_ended_cannot_be_cancelled() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut completed = Story::begin(&db.db).await;
    completed.complete().await;
    let problem = api.post(&path(completed.id()), &json!({})).await.problem(409, "ALREADY_FINISHED");
    assert_eq!(problem["deploymentId"], completed.id());
    assert!(problem["message"].as_str().unwrap().contains("COMPLETED"));
    let mut failed = Story::begin(&db.db).await;
    failed.fail().await;
    let problem = api.post(&path(failed.id()), &json!({})).await.problem(409, "ALREADY_FINISHED");
    assert!(problem["message"].as_str().unwrap().contains("FAILED"));
    api.post(&path("dep_unknown"), &json!({})).await.problem(404, "DEPLOYMENT_NOT_FOUND");
}
