use panda::domain::deployment::Facts;
use serde_json::json;

use crate::http::{Api, Story};
use crate::support::db::TestDb;
use crate::support::wishes::Wishes;

const MESSAGE: &str = "배포 결과 조회 성공";

/// What the contract leaves to us: attempts, and the queue.
const OURS: [&str; 6] = ["attempt", "attempts", "queuePosition", "requested", "scheduleId", "supersededBy"];

/// The members of the contract.
const MEMBERS: [&str; 24] = [
    "blueErrorRate",
    "blueLatencyMs",
    "blueServiceArn",
    "blueUrl",
    "branch",
    "codeDeployDeploymentId",
    "commitSha",
    "completedAt",
    "deploymentId",
    "durationSeconds",
    "errorCode",
    "errorMessage",
    "eventCount",
    "finalService",
    "greenErrorRate",
    "greenLatencyMs",
    "greenServiceArn",
    "greenUrl",
    "imageDigest",
    "imageUri",
    "owner",
    "repo",
    "startedAt",
    "status",
];

#[tokio::test]
async fn a_running_deployment_has_a_result_with_nulls() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut story = Story::begin(&db.db).await;
    story.build_lines(1, 3).await;
    let answer = api.get(&format!("/api/v1/deploy/{}/result", story.id())).await;
    let data = answer.data(MESSAGE);
    let mut members: Vec<&str> = data.as_object().unwrap().keys().map(String::as_str).collect();
    members.retain(|member| !OURS.contains(member));
    assert_eq!(members, MEMBERS, "all of them and no other");
    assert_eq!((data["attempt"].as_i64(), data["attempts"].as_array().map(Vec::len)), (Some(1), Some(0)));
    assert_eq!((data["status"].as_str(), data["eventCount"].as_i64()), (Some("RUNNING"), Some(3)));
    for unknown in ["completedAt", "imageUri", "blueUrl", "finalService", "errorCode", "greenLatencyMs"] {
        assert_eq!(data[unknown], json!(null), "{unknown}");
    }
    assert!(!answer.text.contains("very_secret"));
}

#[tokio::test]
async fn what_was_learned_is_in_the_result() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut story = Story::begin(&db.db).await;
    story
        .learn(Facts {
            commit_sha: Some("9fceb02".to_owned()),
            green_url: Some("http://green".to_owned()),
            green_latency_ms: Some(3.5),
            green_error_rate: Some(0.25),
            code_deploy_deployment_id: Some("d-1".to_owned()),
            ..Facts::default()
        })
        .await;
    story.ready().await;
    db.db.request_switch(story.id()).await.unwrap();
    story.claim_again().await;
    story.complete().await;
    let data = api.get(&format!("/api/v1/deploy/{}/result", story.id())).await.data(MESSAGE);
    assert_eq!(data["status"], "COMPLETED");
    assert_eq!(data["finalService"], "green");
    assert_eq!(data["commitSha"], "9fceb02");
    assert_eq!(data["greenUrl"], "http://green");
    assert_eq!((data["greenLatencyMs"].as_f64(), data["greenErrorRate"].as_f64()), (Some(3.5), Some(0.25)));
    assert_eq!(data["codeDeployDeploymentId"], "d-1");
    for time in ["startedAt", "completedAt"] {
        assert!(data[time].as_str().unwrap().ends_with('Z'), "{}", data[time]);
    }
}

#[tokio::test]
async fn a_failed_deployment_says_why() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut story = Story::begin(&db.db).await;
    story.fail().await;
    let data = api.get(&format!("/api/v1/deploy/{}/result", story.id())).await.data(MESSAGE);
    assert_eq!((data["status"].as_str(), data["errorCode"].as_str()), (Some("FAILED"), Some("BUILD_FAILED")));
    assert_eq!(data["errorMessage"], "Docker 이미지 빌드 실패: exit code 1");
}

#[tokio::test]
async fn a_deployment_that_is_not_there_is_not_found() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    for id in ["dep_unknown", "%00", "a%2Fb", "x%20y", &"d".repeat(500), "%F0%9F%90%BC", "%ff"] {
        api.get(&format!("/api/v1/deploy/{id}/result")).await.problem(404, "DEPLOYMENT_NOT_FOUND");
    }
    let problem = api.get("/api/v1/deploy/dep_unknown/result").await.json();
    assert_eq!(problem["deploymentId"], "dep_unknown");
}
