use chrono::DateTime;
use panda::db::notify::WORK_CHANNEL;
use panda::domain::deployment::Facts;
use panda::domain::rollout::{Pause, SeenPause};
use serde_json::json;

use crate::http::{Api, Fixture};
use crate::support::WAIT_LIMIT;
use crate::support::db::TestDb;

const MESSAGE: &str = "배포 전환이 시작되었습니다.";

fn path(id: &str) -> String {
    format!("/api/v1/deploy/{id}/switch")
}

#[tokio::test]
async fn switch__idempotent_when_ready() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut fixture = Fixture::begin(&db.db).await;
    fixture.ready().await;
    let mut work = db.db.listen(WORK_CHANNEL).await.unwrap();
    let first = api.post(&path(fixture.id()), &json!({})).await;
    let data = first.data(MESSAGE);
    assert_eq!(data["deploymentId"], fixture.id());
    assert_eq!((data["activeService"].as_str(), data["switchStatus"].as_str()), (Some("green"), Some("IN_PROGRESS")));
    assert!(data["message"].is_string() && data.as_object().unwrap().len() == 4);
    let received = tokio::time::timeout(WAIT_LIMIT, work.recv()).await.unwrap().unwrap();
    assert_eq!(received.payload(), fixture.id());
    let wished = db.db.deployment(fixture.id()).await.unwrap().unwrap().switch_requested_at.unwrap();
    assert_eq!(api.post(&path(fixture.id()), &json!({})).await.text, first.text);
    let again = db.db.deployment(fixture.id()).await.unwrap().unwrap();
    assert_eq!(again.switch_requested_at, Some(wished), "the first request's time is kept");
    assert_eq!(again.status, "DEPLOYMENT_READY", "a handler records a command, never a status");
}

#[tokio::test]
async fn switch__refused_with_reason() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut fixture = Fixture::begin(&db.db).await;
    fixture.build_lines(1, 1).await;
    let problem = api.post(&path(fixture.id()), &json!({})).await.problem(409, "SWITCH_NOT_READY");
    assert_eq!((problem["deploymentId"].as_str(), problem["stage"].as_i64()), (Some(fixture.id()), Some(1)));
    assert!(problem["message"].as_str().unwrap().contains("DEPLOYMENT_READY"));

    fixture.ready().await;
    api.post(&path(fixture.id()), &json!({})).await.data(MESSAGE);
    fixture.claim_again().await;
    fixture.complete().await;
    api.post(&path(fixture.id()), &json!({})).await.problem(409, "ALREADY_SWITCHED");

    let mut failed = Fixture::begin(&db.db).await;
    failed.fail().await;
    api.post(&path(failed.id()), &json!({})).await.problem(409, "DEPLOYMENT_FAILED");
    api.post(&path("dep_unknown"), &json!({})).await.problem(404, "DEPLOYMENT_NOT_FOUND");
}

#[tokio::test]
async fn switch__bound_to_the_reviewed_pause() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut ready = Fixture::begin(&db.db).await;
    let pause = |until| Pause {
        hook: Some("hook".to_owned()),
        stage: Some("POST_TEST_TRAFFIC_SHIFT".to_owned()),
        until: DateTime::from_timestamp(until, 0),
        timeout_action: Some("ROLLBACK".to_owned()),
    };
    let first = SeenPause::added(&[], &pause(60), Some(0.0)).unwrap();
    let pauses = SeenPause::added(&first, &pause(120), Some(20.0));
    ready.learn(Facts { pauses, ..Facts::default() }).await;
    ready.ready().await;
    let path = path(ready.id());
    assert_eq!(api.post(&path, &json!({"pause": 60})).await.refused_field("INVALID_FIELD"), "pause");
    let problem = api.post(&path, &json!({"pause": "hook:60"})).await.problem(409, "PAUSE_CHANGED");
    assert!(problem["detail"].as_str().unwrap().contains("hook:120"), "{problem}");
    let shown = api.get(&format!("/api/v1/deploy/{}/result", ready.id())).await.json()["data"]["pauses"][1].clone();
    let expected = json!({"pauseId": "hook:120", "hookId": "hook", "stage": "POST_TEST_TRAFFIC_SHIFT", "until": "1970-01-01T00:02:00.000Z",
                          "timeoutAction": "ROLLBACK", "greenWeight": 20.0});
    assert_eq!(shown, expected);
    api.post(&path, &json!({"pause": "hook:120"})).await.data(MESSAGE);
    api.post(&path, &json!({"pause": "hook:120"})).await.data(MESSAGE);
}
