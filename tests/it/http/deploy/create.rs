use reqwest::Method;
use serde_json::{Value, json};

use super::{DeployApi, PATH};
use crate::http::{Answer, count, fixture};

const MESSAGE: &str = "배포가 시작되었습니다.";

async fn env() -> DeployApi {
    DeployApi::serve(json!({"branch": "main"})).await
}

#[tokio::test]
async fn deploy__joins_caller_trace() {
    let env = env().await;
    let mut psql = env.db.psql().await;
    let mut traced = async |header: &str, branch: &str| -> (String, Option<String>) {
        let body = env.body(&json!({"branch": branch, "concurrency": "queue"}));
        let request = env.api.request(Method::POST, PATH).json(&body).header("traceparent", header);
        let id =
            Answer::of(request.send().await.unwrap()).await.data(MESSAGE)["deploymentId"].as_str().unwrap().to_owned();
        let sql = "SELECT trace_id, trace_parent FROM deployments WHERE id = $1";
        sqlx::query_as(sql).bind(id).fetch_one(&mut psql).await.unwrap()
    };
    let joined = traced("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "one").await;
    assert_eq!(joined, ("4bf92f3577b34da6a3ce929d0e0e4736".to_owned(), Some("00f067aa0ba902b7".to_owned())));
    // Siblings: malformed, of all zeros, in upper case, of a forbidden version, with more parts.
    for (header, branch) in [
        ("", "two"),
        ("nonsense", "three"),
        ("00-0-0-00", "four"),
        ("00-00000000000000000000000000000000-00f067aa0ba902b7-01", "five"),
        ("00-4BF92F3577B34DA6A3CE929D0E0E4736-00F067AA0BA902B7-01", "six"),
        ("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "seven"),
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x", "eight"),
    ] {
        let (id, parent) = traced(header, branch).await;
        assert!(id.len() == 32 && parent.is_none() && id != joined.0, "{header}: {id} {parent:?}");
    }
    // Two headers, as after two proxies that each add one; and a malformed `tracestate`, which Panda does not read.
    let body = env.body(&json!({"branch": "nine", "concurrency": "queue"}));
    let mut request = env.api.request(Method::POST, PATH).json(&body).header("tracestate", "a=1,,=,x y");
    for _ in 0..2 {
        request = request.header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    }
    Answer::of(request.send().await.unwrap()).await.data(MESSAGE);
    let sql = "SELECT count(*) FROM deployments WHERE trace_parent IS NOT NULL";
    assert_eq!(sqlx::query_scalar::<_, i64>(sql).fetch_one(&mut psql).await.unwrap(), 1);
}

#[tokio::test]
async fn deploy__starts_running_at_first_step() {
    let env = env().await;
    let data = env.deploy(&json!({"branch": "feature/x"}), None).await.data(MESSAGE);
    let id = data["deploymentId"].as_str().unwrap();
    assert!(id.starts_with("dep_"));
    assert_eq!(data["status"], "RUNNING");
    assert_eq!(data["message"], format!("Deployment started. Listen to /api/v1/deploy/{id}/events"));
    assert!(data["startedAt"].as_str().unwrap().ends_with('Z'));
    assert_eq!(data.as_object().unwrap().len(), 4);
    let row = env.db.db.deployment(id).await.unwrap().unwrap();
    assert_eq!(
        (row.status.as_str(), row.step.as_str(), row.branch.as_str()),
        ("RUNNING", "ensure_event_rule", "feature/x")
    );
    let started_at = row.started_at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
    assert_eq!(data["startedAt"], started_at, "to the millisecond");
}

#[tokio::test]
async fn deploy__busy_target_refuses_queues_or_supersedes() {
    let env = env().await;
    let id = |data: &Value| data["deploymentId"].as_str().unwrap().to_owned();
    let first = id(&env.deploy(&json!({}), None).await.data(MESSAGE));
    for change in [json!({}), json!({"concurrency": "reject"})] {
        let problem = env.deploy(&change, None).await.problem(409, "TARGET_TAKEN");
        assert_eq!(problem["deploymentId"], first.as_str());
    }
    let queued = env.deploy(&json!({"concurrency": "queue"}), None).await.data(MESSAGE);
    assert_eq!((queued["queuePosition"].as_i64(), queued["status"].as_str()), (Some(1), Some("RUNNING")));
    let newest = env.deploy(&json!({"concurrency": "supersede"}), None).await.data(MESSAGE);
    assert_eq!(newest["queuePosition"].as_i64(), Some(1), "the superseded ones are being cancelled");
    for older in [first, id(&queued)] {
        let result = env.api.get(&format!("/api/v1/deploy/{older}/result")).await.data("배포 결과 조회 성공");
        assert_eq!(result["supersededBy"], newest["deploymentId"]);
    }
    let answer = env.deploy(&json!({"concurrency": "parallel"}), None).await;
    assert_eq!(answer.refused_field("INVALID_FIELD"), "concurrency");
}

#[tokio::test]
async fn deploy__default_concurrency_of_server() {
    // The body of a front end that knows no `concurrency`.
    let body = || json!({"branch": "main"});
    let queue = DeployApi::serve_with(body(), &["--default-concurrency=queue"]).await;
    let first = queue.deploy(&json!({}), None).await.data(MESSAGE);
    let second = queue.deploy(&json!({}), Some("k")).await;
    assert_eq!(second.data(MESSAGE)["queuePosition"], 1);
    assert_eq!(queue.deploy(&json!({}), Some("k")).await.text, second.text);
    let problem = queue.deploy(&json!({"concurrency": "reject"}), None).await.problem(409, "TARGET_TAKEN");
    assert_eq!(problem["deploymentId"], first["deploymentId"], "a request's own policy counts");
    assert_eq!(queue.deploy(&json!({"concurrency": null}), None).await.data(MESSAGE)["queuePosition"], 2);

    let schedule =
        |concurrency: Value| json!({"cron": "@daily", "deploy": queue.body(&json!({})), "concurrency": concurrency});
    for (named, stored) in [(Value::Null, "queue"), (json!("reject"), "reject")] {
        let made = queue.api.post("/api/v1/schedules", &schedule(named)).await.data("배포 일정이 등록되었습니다.");
        assert_eq!(made["concurrency"], stored);
    }

    let supersede = DeployApi::serve_with(body(), &["--default-concurrency=supersede"]).await;
    let first = supersede.deploy(&json!({}), None).await.data(MESSAGE);
    let second = supersede.deploy(&json!({}), None).await.data(MESSAGE);
    let path = format!("/api/v1/deploy/{}/result", first["deploymentId"].as_str().unwrap());
    assert_eq!(supersede.api.get(&path).await.data("배포 결과 조회 성공")["supersededBy"], second["deploymentId"]);
}

#[tokio::test]
async fn deploy__queue_position_in_stream_and_list() {
    let env = env().await;
    env.deploy(&json!({}), None).await.data(MESSAGE);
    let queued = env.deploy(&json!({"concurrency": "queue"}), None).await.data(MESSAGE);
    let id = queued["deploymentId"].as_str().unwrap();
    let request = env.api.request(Method::GET, &format!("/api/v1/deploy/{id}/events?lang=en"));
    let received = crate::http::Reader::open(request).await.take(1).await.remove(0);
    assert_eq!(received.text(), "[Stage 1] Waiting for the deployments before it (number 1 in the queue)");
    let list = env.api.get(PATH).await.data("배포 목록 조회 성공");
    assert_eq!(list["deployments"][0]["queuePosition"].as_i64(), Some(1));
    assert!(list["deployments"][1]["queuePosition"].is_null());
}

#[tokio::test]
async fn deploy__notifies_reconcilers() {
    let env = env().await;
    let mut work = env.db.db.listen(panda::db::notify::WORK_CHANNEL).await.unwrap();
    let data = env.deploy(&json!({}), None).await.data(MESSAGE);
    let received = tokio::time::timeout(crate::support::WAIT_LIMIT, work.recv()).await.unwrap().unwrap();
    assert_eq!(received.payload(), data["deploymentId"].as_str().unwrap());
}

#[tokio::test]
async fn deploy__repeated_key_makes_one_deployment() {
    let env = env().await;
    let first = env.deploy(&json!({}), Some("key-1")).await;
    let second = env.deploy(&json!({}), Some("key-1")).await;
    assert_eq!((second.status, &second.text), (200, &first.text));
    first.data(MESSAGE);
    assert_eq!(count(&env.db, "deployments").await, 1);
    let other = env.deploy(&json!({"concurrency": "queue"}), Some("key-2")).await;
    assert_ne!(other.text, first.text);
    assert_eq!(count(&env.db, "deployments").await, 2);
}

#[tokio::test]
async fn deploy__concurrent_requests_with_one_key_start_one() {
    let env = env().await;
    let answers = futures_util::future::join_all((0..8).map(|_| {
        let no_change = json!({});
        let env = &env;
        async move { env.deploy(&no_change, Some("key")).await }
    }))
    .await;
    assert!(answers.iter().all(|answer| answer.status == 200 && answer.text == answers[0].text));
    assert_eq!(count(&env.db, "deployments").await, 1);
}

#[tokio::test]
async fn deploy__key_bound_to_body_and_length() {
    let env = env().await;
    env.deploy(&json!({}), Some("key")).await.data(MESSAGE);
    env.deploy(&json!({"branch": "other"}), Some("key")).await.problem(422, "IDEMPOTENCY_KEY_REUSED");
    env.deploy(&json!({"concurrency": "queue"}), Some(&"k".repeat(255))).await.data(MESSAGE);
    for key in [String::new(), "k".repeat(256), "é".to_owned()] {
        let answer = env.deploy(&json!({}), Some(&key)).await;
        assert_eq!(answer.refused_field("INVALID_FIELD"), "Idempotency-Key");
    }
}

#[tokio::test]
async fn deploy__invalid_fields_named_and_nothing_stored() {
    let env = env().await;
    for (change, field) in [
        (json!({"owner": ""}), "owner"),
        (json!({"owner": "other"}), "owner"),
        (json!({"repo": "other"}), "repo"),
        (json!({"repo": "a b"}), "repo"),
        (json!({"branch": "-x"}), "branch"),
        (json!({"branch": 5}), "branch"),
        (json!({"githubConnectionId": "gh_unknown"}), "githubConnectionId"),
        (json!({"githubConnectionId": "\u{0}"}), "githubConnectionId"),
        (json!({"githubConnectionId": env.aws}), "githubConnectionId"),
        (json!({"awsConnectionId": "aws_unknown"}), "awsConnectionId"),
        (json!({"awsConnectionId": ""}), "awsConnectionId"),
        (json!({"force": true}), "force"),
    ] {
        let answer = env.deploy(&change, Some("key")).await;
        assert_eq!(answer.refused_field("INVALID_FIELD"), field, "{change}");
    }
    assert_eq!(count(&env.db, "deployments").await, 0);
    assert_eq!(count(&env.db, "idempotency_keys").await, 0, "a refused request may be corrected under its key");
}

#[tokio::test]
async fn deploy__owner_and_repo_case_insensitive() {
    let env = env().await;
    let data = env.deploy(&json!({"owner": "ACME", "repo": "Shop"}), None).await.data(MESSAGE);
    let row = env.db.db.deployment(data["deploymentId"].as_str().unwrap()).await.unwrap().unwrap();
    assert_eq!((row.owner.as_str(), row.repo.as_str()), ("acme", "shop"), "spelt as connected");
}

#[tokio::test]
async fn deploy__name_invalid_for_ecr_refused() {
    let env = env().await;
    let github = fixture::github_connection(&env.db.db, "acme", ".github").await;
    let answer = env.deploy(&json!({"githubConnectionId": github, "repo": ".github"}), None).await;
    assert_eq!(answer.refused_field("INVALID_FIELD"), "repo");
}

#[tokio::test]
async fn deploy__ecr_repository_belongs_to_one_source() {
    let env = env().await;
    let (one, two) = (
        fixture::github_connection(&env.db.db, "a", "b-c").await,
        fixture::github_connection(&env.db.db, "a-b", "c").await,
    );
    env.deploy(&json!({"githubConnectionId": one, "owner": "a", "repo": "b-c"}), None).await.data(MESSAGE);
    let answer = env.deploy(&json!({"githubConnectionId": two, "owner": "a-b", "repo": "c"}), None).await;
    let problem = answer.problem(409, "REPOSITORY_NAME_TAKEN");
    assert!(problem["detail"].as_str().unwrap().contains("a/b-c"), "{problem}");
}
