use reqwest::Method;
use serde_json::{Value, json};

use crate::http::{Answer, Api, count, story};
use crate::support::db::TestDb;

const PATH: &str = "/api/v1/deploy";
const MESSAGE: &str = "배포가 시작되었습니다.";

struct World {
    db: TestDb,
    api: Api,
    github: String,
    aws: String,
}

async fn world() -> World {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let github = story::github_connection(&db.db, "acme", "shop").await;
    let aws = story::aws_connection(&db.db).await;
    World { db, api, github, aws }
}

impl World {
    fn body(&self, change: &Value) -> Value {
        let mut body = json!({
            "githubConnectionId": self.github, "awsConnectionId": self.aws, "owner": "acme", "repo": "shop", "branch": "main",
        });
        for (name, value) in change.as_object().unwrap() {
            body[name] = value.clone();
        }
        body
    }

    async fn deploy(&self, change: &Value, key: Option<&str>) -> Answer {
        let mut request = self.api.request(Method::POST, PATH).json(&self.body(change));
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        Answer::of(request.send().await.unwrap()).await
    }
}

#[tokio::test]
async fn a_deployment_joins_the_callers_trace_and_has_one_of_its_own_otherwise() {
    let world = world().await;
    let mut psql = world.db.psql().await;
    let mut traced = async |header: &str, branch: &str| -> (String, Option<String>) {
        let body = world.body(&json!({"branch": branch, "concurrency": "queue"}));
        let request = world.api.request(Method::POST, PATH).json(&body).header("traceparent", header);
        let id =
            Answer::of(request.send().await.unwrap()).await.data(MESSAGE)["deploymentId"].as_str().unwrap().to_owned();
        let sql = "SELECT trace_id, trace_parent FROM deployments WHERE id = $1";
        sqlx::query_as(sql).bind(id).fetch_one(&mut psql).await.unwrap()
    };
    let joined = traced("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "one").await;
    assert_eq!(joined, ("4bf92f3577b34da6a3ce929d0e0e4736".to_owned(), Some("00f067aa0ba902b7".to_owned())));
    for (header, branch) in [("", "two"), ("nonsense", "three"), ("00-0-0-00", "four")] {
        let (id, parent) = traced(header, branch).await;
        assert!(id.len() == 32 && parent.is_none() && id != joined.0, "{header}: {id} {parent:?}");
    }
}

#[tokio::test]
async fn a_deployment_begins_running_at_its_first_step() {
    let world = world().await;
    let data = world.deploy(&json!({"branch": "feature/x"}), None).await.data(MESSAGE);
    let id = data["deploymentId"].as_str().unwrap();
    assert!(id.starts_with("dep_"));
    assert_eq!(data["status"], "RUNNING");
    assert_eq!(data["message"], format!("Deployment started. Listen to /api/v1/deploy/{id}/events"));
    assert!(data["startedAt"].as_str().unwrap().ends_with('Z'));
    assert_eq!(data.as_object().unwrap().len(), 4);
    let row = world.db.db.deployment(id).await.unwrap().unwrap();
    assert_eq!(
        (row.status.as_str(), row.step.as_str(), row.branch.as_str()),
        ("RUNNING", "ensure_event_rule", "feature/x")
    );
    assert_eq!(chrono::DateTime::parse_from_rfc3339(data["startedAt"].as_str().unwrap()).unwrap(), row.started_at);
}

#[tokio::test]
async fn a_target_that_is_taken_refuses_queues_or_is_superseded_as_asked() {
    let world = world().await;
    let id = |data: &Value| data["deploymentId"].as_str().unwrap().to_owned();
    let first = id(&world.deploy(&json!({}), None).await.data(MESSAGE));
    for change in [json!({}), json!({"concurrency": "reject"})] {
        let problem = world.deploy(&change, None).await.problem(409, "TARGET_TAKEN");
        assert_eq!(problem["deploymentId"], first.as_str());
    }
    let queued = world.deploy(&json!({"concurrency": "queue"}), None).await.data(MESSAGE);
    assert_eq!((queued["queuePosition"].as_i64(), queued["status"].as_str()), (Some(1), Some("RUNNING")));
    let newest = world.deploy(&json!({"concurrency": "supersede"}), None).await.data(MESSAGE);
    assert_eq!(newest["queuePosition"].as_i64(), Some(1), "those before it are on their way out");
    for older in [first, id(&queued)] {
        let result = world.api.get(&format!("/api/v1/deploy/{older}/result")).await.data("배포 결과 조회 성공");
        assert_eq!(result["supersededBy"], newest["deploymentId"]);
    }
    let answer = world.deploy(&json!({"concurrency": "parallel"}), None).await;
    assert_eq!(answer.refused_field("INVALID_FIELD"), "concurrency");
}

#[tokio::test]
async fn a_queued_deployment_tells_its_place_in_its_stream_and_in_the_list() {
    let world = world().await;
    world.deploy(&json!({}), None).await.data(MESSAGE);
    let queued = world.deploy(&json!({"concurrency": "queue"}), None).await.data(MESSAGE);
    let id = queued["deploymentId"].as_str().unwrap();
    let request = world.api.request(Method::GET, &format!("/api/v1/deploy/{id}/events?lang=en"));
    let told = crate::http::Reader::open(request).await.take(1).await.remove(0);
    assert_eq!(told.text(), "[Stage 1] Waiting for the deployments before it (number 1 in the queue)");
    let list = world.api.get(PATH).await.data("배포 목록 조회 성공");
    assert_eq!(list["deployments"][0]["queuePosition"].as_i64(), Some(1));
    assert!(list["deployments"][1]["queuePosition"].is_null());
}

#[tokio::test]
async fn reconcilers_are_told_of_a_new_deployment() {
    let world = world().await;
    let mut work = world.db.db.listen(panda::db::notify::WORK_CHANNEL).await.unwrap();
    let data = world.deploy(&json!({}), None).await.data(MESSAGE);
    let told = tokio::time::timeout(crate::support::SOON, work.recv()).await.unwrap().unwrap();
    assert_eq!(told.payload(), data["deploymentId"].as_str().unwrap());
}

#[tokio::test]
async fn the_same_key_and_body_give_the_same_answer_and_one_deployment() {
    let world = world().await;
    let first = world.deploy(&json!({}), Some("key-1")).await;
    let second = world.deploy(&json!({}), Some("key-1")).await;
    assert_eq!((second.status, &second.text), (200, &first.text));
    first.data(MESSAGE);
    assert_eq!(count(&world.db, "deployments").await, 1);
    let other = world.deploy(&json!({"concurrency": "queue"}), Some("key-2")).await;
    assert_ne!(other.text, first.text);
    assert_eq!(count(&world.db, "deployments").await, 2);
}

#[tokio::test]
async fn requests_with_one_key_at_once_start_one_deployment() {
    let world = world().await;
    let answers = futures_util::future::join_all((0..8).map(|_| {
        let no_change = json!({});
        let world = &world;
        async move { world.deploy(&no_change, Some("key")).await }
    }))
    .await;
    assert!(answers.iter().all(|answer| answer.status == 200 && answer.text == answers[0].text));
    assert_eq!(count(&world.db, "deployments").await, 1);
}

#[tokio::test]
async fn a_key_is_for_one_body_and_of_a_stated_length() {
    let world = world().await;
    world.deploy(&json!({}), Some("key")).await.data(MESSAGE);
    world.deploy(&json!({"branch": "other"}), Some("key")).await.problem(422, "IDEMPOTENCY_KEY_REUSED");
    world.deploy(&json!({"concurrency": "queue"}), Some(&"k".repeat(255))).await.data(MESSAGE);
    for key in [String::new(), "k".repeat(256), "é".to_owned()] {
        let answer = world.deploy(&json!({}), Some(&key)).await;
        assert_eq!(answer.refused_field("INVALID_FIELD"), "Idempotency-Key");
    }
}

#[tokio::test]
async fn each_field_that_is_wrong_is_named_and_nothing_is_stored() {
    let world = world().await;
    for (change, field) in [
        (json!({"owner": ""}), "owner"),
        (json!({"owner": "other"}), "owner"),
        (json!({"repo": "other"}), "repo"),
        (json!({"repo": "a b"}), "repo"),
        (json!({"branch": "-x"}), "branch"),
        (json!({"branch": 5}), "branch"),
        (json!({"githubConnectionId": "gh_unknown"}), "githubConnectionId"),
        (json!({"githubConnectionId": "\u{0}"}), "githubConnectionId"),
        (json!({"githubConnectionId": world.aws}), "githubConnectionId"),
        (json!({"awsConnectionId": "aws_unknown"}), "awsConnectionId"),
        (json!({"awsConnectionId": ""}), "awsConnectionId"),
        (json!({"force": true}), "force"),
    ] {
        let answer = world.deploy(&change, Some("key")).await;
        assert_eq!(answer.refused_field("INVALID_FIELD"), field, "{change}");
    }
    assert_eq!(count(&world.db, "deployments").await, 0);
    assert_eq!(count(&world.db, "idempotency_keys").await, 0, "a refused request may be mended under its key");
}

#[tokio::test]
async fn owner_and_repo_are_compared_as_github_does() {
    let world = world().await;
    let data = world.deploy(&json!({"owner": "ACME", "repo": "Shop"}), None).await.data(MESSAGE);
    let row = world.db.db.deployment(data["deploymentId"].as_str().unwrap()).await.unwrap().unwrap();
    assert_eq!((row.owner.as_str(), row.repo.as_str()), ("acme", "shop"), "spelt as connected");
}

#[tokio::test]
async fn a_repository_that_ecr_cannot_name_is_refused() {
    let world = world().await;
    let github = story::github_connection(&world.db.db, "acme", ".github").await;
    let answer = world.deploy(&json!({"githubConnectionId": github, "repo": ".github"}), None).await;
    assert_eq!(answer.refused_field("INVALID_FIELD"), "repo");
}

#[tokio::test]
async fn an_ecr_repository_is_not_shared_by_two_sources() {
    let world = world().await;
    let (one, two) = (
        story::github_connection(&world.db.db, "a", "b-c").await,
        story::github_connection(&world.db.db, "a-b", "c").await,
    );
    world.deploy(&json!({"githubConnectionId": one, "owner": "a", "repo": "b-c"}), None).await.data(MESSAGE);
    let answer = world.deploy(&json!({"githubConnectionId": two, "owner": "a-b", "repo": "c"}), None).await;
    let problem = answer.problem(409, "REPOSITORY_NAME_TAKEN");
    assert!(problem["detail"].as_str().unwrap().contains("a/b-c"), "{problem}");
}
