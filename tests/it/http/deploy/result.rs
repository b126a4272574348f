use panda::domain::deployment::Facts;
use serde_json::json;

use crate::http::{Api, Fixture};
use crate::support::commands::Commands;
use crate::support::db::TestDb;

const MESSAGE: &str = "배포 결과 조회 성공";

/// Fields that the contract leaves to the implementation: attempts, the queue, and the times of AWS.
const IMPLEMENTATION_FIELDS: [&str; 22] = [
    "attempt",
    "attempts",
    "blueTerminatedAt",
    "causedBy",
    "commitAuthor",
    "commitSubject",
    "greenWeight",
    "heldBy",
    "labels",
    "pauses",
    "policyVersion",
    "outcome",
    "queuePosition",
    "readyUntil",
    "requested",
    "restoredAt",
    "rollbackRequestedAt",
    "rolledBackBy",
    "scheduleId",
    "serviceDeploymentArn",
    "supersededBy",
    "trafficMovedAt",
];

/// Fields that every client may rely on.
const CONTRACT_FIELDS: [&str; 25] = [
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
    "fasterService",
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
async fn result__running_has_nulls() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut fixture = Fixture::begin(&db.db).await;
    fixture.build_lines(1, 3).await;
    let answer = api.get(&format!("/api/v1/deploy/{}/result", fixture.id())).await;
    let data = answer.data(MESSAGE);
    let mut members: Vec<&str> = data.as_object().unwrap().keys().map(String::as_str).collect();
    members.retain(|member| !IMPLEMENTATION_FIELDS.contains(member));
    assert_eq!(members, CONTRACT_FIELDS, "all of them and no other");
    assert_eq!((data["attempt"].as_i64(), data["attempts"].as_array().map(Vec::len)), (Some(1), Some(0)));
    assert_eq!((data["status"].as_str(), data["eventCount"].as_i64()), (Some("RUNNING"), Some(3)));
    for unknown in
        ["completedAt", "imageUri", "blueUrl", "finalService", "errorCode", "greenLatencyMs", "fasterService"]
    {
        assert_eq!(data[unknown], json!(null), "{unknown}");
    }
    assert!(!answer.text.contains("very_secret"));
}

#[tokio::test]
async fn result__times_of_aws() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut fixture = Fixture::begin(&db.db).await;
    let at = |seconds| chrono::DateTime::from_timestamp(seconds, 0);
    fixture.learn(Facts { ready_until: at(1_800_000_000), ..Facts::default() }).await;
    let path = format!("/api/v1/deploy/{}/result", fixture.id());
    assert_eq!(api.get(&path).await.data(MESSAGE)["readyUntil"], json!(null), "it is not ready");
    fixture.ready().await;
    let ready = api.get(&path).await.data(MESSAGE);
    assert_eq!((&ready["readyUntil"], &ready["blueTerminatedAt"]), (&json!("2027-01-15T08:00:00.000Z"), &json!(null)));
    db.db.request_switch(fixture.id()).await.unwrap();
    fixture.claim_again().await;
    fixture.learn(Facts { blue_terminated_at: at(1_800_003_600), ..Facts::default() }).await;
    fixture.complete().await;
    let completed = api.get(&path).await.data(MESSAGE);
    assert_eq!(
        (&completed["readyUntil"], &completed["blueTerminatedAt"]),
        (&json!(null), &json!("2027-01-15T09:00:00.000Z"))
    );
    let view = "SELECT (ready_until AT TIME ZONE 'UTC')::text || ' ' || (blue_terminated_at AT TIME ZONE 'UTC')::text FROM panda_report.deployments_v1";
    let shown: String = sqlx::query_scalar(view).fetch_one(&mut db.psql().await).await.unwrap();
    assert_eq!(shown, "2027-01-15 08:00:00 2027-01-15 09:00:00");
}

#[tokio::test]
async fn result__contains_observed_facts() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut fixture = Fixture::begin(&db.db).await;
    fixture
        .learn(Facts {
            commit_sha: Some("9fceb02".to_owned()),
            commit_author: Some("김 판다".to_owned()),
            commit_subject: Some("Show tax".to_owned()),
            green_url: Some("http://green".to_owned()),
            green_latency_ms: Some(3.5),
            green_error_rate: Some(0.25),
            code_deploy_deployment_id: Some("d-1".to_owned()),
            ..Facts::default()
        })
        .await;
    fixture.ready().await;
    db.db.request_switch(fixture.id()).await.unwrap();
    fixture.claim_again().await;
    fixture.complete().await;
    let data = api.get(&format!("/api/v1/deploy/{}/result", fixture.id())).await.data(MESSAGE);
    assert_eq!(data["status"], "COMPLETED");
    assert_eq!(data["finalService"], "green");
    assert_eq!(data["commitSha"], "9fceb02");
    assert_eq!((&data["commitAuthor"], &data["commitSubject"]), (&json!("김 판다"), &json!("Show tax")));
    let listed = &api.get("/api/v1/deploy").await.data("배포 목록 조회 성공")["deployments"][0];
    assert_eq!((&listed["commitAuthor"], &listed["commitSubject"]), (&json!("김 판다"), &json!("Show tax")));
    assert_eq!(data["greenUrl"], "http://green");
    assert_eq!((data["greenLatencyMs"].as_f64(), data["greenErrorRate"].as_f64()), (Some(3.5), Some(0.25)));
    assert_eq!(data["codeDeployDeploymentId"], "d-1");
    for time in ["startedAt", "completedAt"] {
        assert!(data[time].as_str().unwrap().ends_with('Z'), "{}", data[time]);
    }
}

#[tokio::test]
async fn result__faster_service_by_median_latency() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut fixture = Fixture::begin(&db.db).await;
    let path = format!("/api/v1/deploy/{}/result", fixture.id());
    for (blue, green, faster) in [
        (None, Some(3.5), json!(null)),
        (Some(3.6), Some(3.5), json!("green")),
        (Some(3.4), Some(3.5), json!("blue")),
        (Some(3.5), Some(3.5), json!(null)),
    ] {
        fixture.learn(Facts { blue_latency_ms: blue, green_latency_ms: green, ..Facts::default() }).await;
        assert_eq!(api.get(&path).await.data(MESSAGE)["fasterService"], faster, "{blue:?} {green:?}");
    }
}

#[tokio::test]
async fn result__failed_has_reason() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut fixture = Fixture::begin(&db.db).await;
    fixture.fail().await;
    let data = api.get(&format!("/api/v1/deploy/{}/result", fixture.id())).await.data(MESSAGE);
    assert_eq!((data["status"].as_str(), data["errorCode"].as_str()), (Some("FAILED"), Some("BUILD_FAILED")));
    assert_eq!(data["errorMessage"], "Docker 이미지 빌드 실패: exit code 1");
}

#[tokio::test]
async fn result__unknown_deployment() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    for id in ["dep_unknown", "%00", "a%2Fb", "x%20y", &"d".repeat(500), "%F0%9F%90%BC", "%ff"] {
        api.get(&format!("/api/v1/deploy/{id}/result")).await.problem(404, "DEPLOYMENT_NOT_FOUND");
    }
    let problem = api.get("/api/v1/deploy/dep_unknown/result").await.json();
    assert_eq!(problem["deploymentId"], "dep_unknown");
}
