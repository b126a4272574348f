use panda::db::notify::WORK_CHANNEL;
use serde_json::json;

use crate::http::{Api, Fixture};
use crate::support::WAIT_LIMIT;
use crate::support::db::TestDb;

const MESSAGE: &str = "배포 취소가 시작되었습니다.";

fn path(id: &str) -> String {
    format!("/api/v1/deploy/{id}/cancel")
}

#[tokio::test]
async fn cancel__recorded_published_and_idempotent() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let fixture = Fixture::begin(&db.db).await;
    let mut work = db.db.listen(WORK_CHANNEL).await.unwrap();
    let first = api.post(&path(fixture.id()), &json!({})).await;
    let data = first.data(MESSAGE);
    assert_eq!(
        (data["deploymentId"].as_str(), data["cancelStatus"].as_str()),
        (Some(fixture.id()), Some("IN_PROGRESS"))
    );
    assert!(data["message"].is_string() && data.as_object().unwrap().len() == 3);
    let received = tokio::time::timeout(WAIT_LIMIT, work.recv()).await.unwrap().unwrap();
    assert_eq!(received.payload(), fixture.id());
    let sql = "SELECT cancel_requested_at FROM deployments";
    let wished: chrono::DateTime<chrono::Utc> = sqlx::query_scalar(sql).fetch_one(&mut db.psql().await).await.unwrap();
    assert_eq!(api.post(&path(fixture.id()), &json!({})).await.text, first.text);
    let again: chrono::DateTime<chrono::Utc> = sqlx::query_scalar(sql).fetch_one(&mut db.psql().await).await.unwrap();
    assert_eq!(again, wished, "the first request's time is kept");
    let view = db.db.deployment(fixture.id()).await.unwrap().unwrap();
    assert_eq!(view.status, "RUNNING", "a handler records a command, never a status");
}

#[tokio::test]
async fn cancel__switch_refused_meanwhile() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut fixture = Fixture::begin(&db.db).await;
    fixture.ready().await;
    api.post(&path(fixture.id()), &json!({})).await.data(MESSAGE);
    let switch = format!("/api/v1/deploy/{}/switch", fixture.id());
    api.post(&switch, &json!({})).await.problem(409, "DEPLOYMENT_CANCELLING");
}

#[tokio::test]
async fn cancel__finished_deployment_refused() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut completed = Fixture::begin(&db.db).await;
    completed.complete().await;
    let problem = api.post(&path(completed.id()), &json!({})).await.problem(409, "ALREADY_FINISHED");
    assert_eq!(problem["deploymentId"], completed.id());
    assert!(problem["message"].as_str().unwrap().contains("COMPLETED"));
    let mut failed = Fixture::begin(&db.db).await;
    failed.fail().await;
    let problem = api.post(&path(failed.id()), &json!({})).await.problem(409, "ALREADY_FINISHED");
    assert!(problem["message"].as_str().unwrap().contains("FAILED"));
    api.post(&path("dep_unknown"), &json!({})).await.problem(404, "DEPLOYMENT_NOT_FOUND");
}
