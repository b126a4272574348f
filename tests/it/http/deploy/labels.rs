//! Labels of a deployment: from the policy of its target and from the request.

use pretty_assertions::assert_eq;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Executor as _};

use super::{DeployApi, PATH};
use crate::report::lines;

const POLICY: &str = "/api/v1/policies/acme/shop";

impl DeployApi {
    async fn labels(&self, id: &str) -> Value {
        let shown = self.api.get(&format!("{PATH}/{id}/result")).await.data("배포 결과 조회 성공")["labels"].clone();
        let list = self.api.get(PATH).await.data("배포 목록 조회 성공");
        let listed = list["deployments"].as_array().unwrap().iter().find(|row| row["deploymentId"] == id).unwrap();
        assert_eq!(listed["labels"], shown);
        shown
    }

    async fn policy_labels(&self, labels: &Value) {
        let stored = self.api.put(POLICY, &json!({"labels": labels})).await.data("정책이 저장되었습니다.");
        assert_eq!(&stored["labels"], labels);
    }
}

#[tokio::test]
async fn labels__request_replaces_those_of_the_policy_by_name() {
    let env = DeployApi::serve(json!({"concurrency": "queue"})).await;
    env.policy_labels(&json!({"team": "payments", "environment": "production"})).await;
    let id = env.started(&json!({"branch": "main", "labels": {"environment": "staging", "tier": "결제 1"}})).await;
    let expected = json!({"team": "payments", "environment": "staging", "tier": "결제 1"});
    assert_eq!(env.labels(&id).await, expected);
    let psql = &mut env.db.psql().await;
    let view = format!(
        "SELECT labels ->> 'team', labels ->> 'environment' FROM panda_report.deployments_v1 WHERE deployment_id = '{id}'"
    );
    assert_eq!(lines(psql, &view).await, ["payments|staging"]);
    let audited = "SELECT details ->> 'labels' FROM audit WHERE action = 'deploy'";
    assert_eq!(lines(psql, audited).await, [r#"{"tier": "결제 1", "environment": "staging"}"#]);
    // A queued one has the policy of its start.
    let queued = env.started(&json!({"branch": "main"})).await;
    assert_eq!(env.labels(&queued).await, json!({}));

    // A retry starts with the policy in force by then, and keeps what was requested.
    let end = "UPDATE deployments SET status = 'FAILED', error_code = 'BUILD_FAILED', error_message = 'why', completed_at = now()";
    psql.execute(AssertSqlSafe(format!("{end} WHERE id = '{queued}'; {end} WHERE id = '{id}'"))).await.unwrap();
    env.policy_labels(&json!({"team": "checkout"})).await;
    assert_eq!(env.labels(&id).await, expected, "an attempt keeps the version with which it started");
    env.api.post(&format!("{PATH}/{id}/retry"), &json!({})).await.data("배포 재시도가 시작되었습니다.");
    assert_eq!(env.labels(&id).await, json!({"team": "checkout", "environment": "staging", "tier": "결제 1"}));
}

#[tokio::test]
async fn labels__invalid_refused_with_field_and_bound() {
    let env = DeployApi::serve(json!({})).await;
    let many: serde_json::Map<String, Value> = (0..9).map(|n| (format!("k{n}"), json!("x"))).collect();
    for (labels, field, said) in [
        (json!(many), "labels", "at most 8"),
        (json!({"Team": "x"}), "labels", "31"),
        (json!({"": "x"}), "labels", "31"),
        (json!({"a\u{0}": "x"}), "labels", "31"),
        (json!({"team": ""}), "labels.team", "1 to 63"),
        (json!({"team": "x".repeat(64)}), "labels.team", "1 to 63"),
        (json!({"team": "a\u{202e}b"}), "labels.team", "control characters"),
    ] {
        let refused =
            env.deploy(&json!({"branch": "main", "labels": labels}), None).await.problem(400, "INVALID_FIELD");
        assert_eq!(refused["field"], field, "{labels}");
        assert!(refused["detail"].as_str().unwrap().contains(said), "{refused}");
        let refused = env.api.put(POLICY, &json!({"labels": labels})).await.problem(400, "INVALID_FIELD");
        assert_eq!(refused["field"], field, "{labels}");
    }
    for labels in [json!({"team": 1}), json!(["team"]), json!("team")] {
        let answer = env.deploy(&json!({"branch": "main", "labels": labels}), None).await;
        assert_eq!(answer.status, 400, "{}", answer.text);
    }
}
