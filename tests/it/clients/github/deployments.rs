//! Deployments and commit statuses at GitHub: the client and the sandbox's GitHub, both checked with GitHub's OpenAPI description.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use panda::clients::github::deployments::{DeploymentAtGitHub, Repository, Shown};
use panda::clients::github::{GitHub, GitHubError};
use panda::domain::github_status::{CommitState, GitHubState};
use panda_sandbox::github::GitHubFaults;
use parking_lot::Mutex;
use secrecy::SecretString;
use serde_json::{Value, json};
use url::Url;

use super::super::serve;
use crate::http::external_services::{TOKEN, github};

/// Forwards requests to the sandbox's GitHub and keeps what was said.
#[derive(Clone)]
pub(super) struct Recorder {
    target: String,
    exchanges: Arc<Mutex<Vec<Value>>>,
}

impl Recorder {
    /// A recorder of the sandbox's GitHub, and the address of its API.
    pub(super) async fn of(sandbox: &panda_sandbox::github::GitHub) -> (Self, Url) {
        let target = sandbox.api_url().trim_end_matches("/api/v3").to_owned();
        let recorder = Self { target, exchanges: Arc::default() };
        let address = serve(Router::new().fallback(Self::forward).with_state(recorder.clone())).await;
        (recorder, address.join("api/v3").unwrap())
    }

    async fn forward(State(recorder): State<Self>, request: Request) -> Response {
        let (head, body) = request.into_parts();
        let sent = to_bytes(body, 1 << 20).await.unwrap();
        let target = head.uri.path_and_query().unwrap().to_string();
        let mut headers = head.headers;
        headers.remove("host");
        let url = format!("{}{target}", recorder.target);
        let forwarded = reqwest::Client::new().request(head.method.clone(), url).headers(headers).body(sent.clone());
        let answer = forwarded.send().await.unwrap();
        let status = answer.status().as_u16();
        let received = answer.bytes().await.unwrap();
        recorder.exchanges.lock().push(json!({
            "method": head.method.as_str(),
            "target": target,
            "request": serde_json::from_slice::<Value>(&sent).unwrap_or_default(),
            "status": status,
            "answer": serde_json::from_slice::<Value>(&received).unwrap_or_default(),
        }));
        (StatusCode::from_u16(status).unwrap(), Body::from(received)).into_response()
    }

    /// Asserts that GitHub describes each exchange as it happened.
    pub(super) fn assert_described(&self) {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/clients/github");
        let mut child = Command::new(panda_testing::moto::server::python())
            .arg(folder.join("validate.py"))
            .arg(folder.join("openapi.json"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let exchanges = Value::from(self.exchanges.lock().clone());
        child.stdin.take().unwrap().write_all(exchanges.to_string().as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap(), json!([]), "{exchanges:#}");
    }

    fn posts(&self) -> usize {
        self.exchanges.lock().iter().filter(|one| one["method"] == "POST").count()
    }
}

fn shown<State>(state: State, description: &str) -> Shown<'_, State> {
    Shown { state, description, page: None }
}

fn states(deployment: &Value) -> Vec<&str> {
    deployment["statuses"].as_array().unwrap().iter().map(|one| one["state"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn github_deployments__made_once_and_as_github_describes_them() {
    let (sandbox, _root) = github().await;
    let head = sandbox.repositories().head("acme", "shop", "main").await.unwrap().sha;
    let (recorder, api) = Recorder::of(&sandbox).await;
    let client = GitHub::new(api, Duration::from_secs(5)).unwrap();
    let token = SecretString::from(TOKEN);
    let repository = Repository { owner: "acme", name: "shop", token: &token };
    let page: Url = "https://panda.example/deployments/dep_1".parse().unwrap();
    let deployment = |id: &'static str| {
        let (client, head) = (client.clone(), head.clone());
        let token = token.clone();
        async move {
            let repository = Repository { owner: "acme", name: "shop", token: &token };
            let new = DeploymentAtGitHub { id, sha: &head, environment: "production", is_production: true };
            client.ensure_deployment(repository, new, shown(GitHubState::Queued, "queued")).await.unwrap()
        }
    };

    // Twice, as after a crash: each is found the second time.
    let mut ids = Vec::new();
    for id in ["dep_1", "dep_2"] {
        let number = deployment(id).await;
        assert_eq!(deployment(id).await, number);
        ids.push(number);
        for state in [GitHubState::InProgress, GitHubState::InProgress, GitHubState::Success, GitHubState::Success] {
            let shown = Shown { page: Some(&page), ..shown(state, "stage") };
            client.show_deployment(repository, number, shown, Some("https://shop.example/")).await.unwrap();
        }
        client.end_earlier_deployments(repository, "production", number).await.unwrap();
        client.end_earlier_deployments(repository, "production", number).await.unwrap();
    }
    let known = sandbox.deployments("acme/shop");
    assert_eq!(known.len(), 2);
    assert_eq!(states(&known[0]), ["queued", "in_progress", "success", "inactive"]);
    assert_eq!(states(&known[1]), ["queued", "in_progress", "success"]);
    let last = &known[1]["statuses"][2];
    assert_eq!((&last["log_url"], &last["environment_url"]), (&json!(page.as_str()), &json!("https://shop.example/")));
    assert_eq!((&known[0]["ref"], &known[0]["sha"]), (&json!(head), &json!(head)));

    // The traffic was taken back from the second one.
    client.show_deployment(repository, ids[1], shown(GitHubState::Inactive, "taken back"), None).await.unwrap();
    client.revive_earlier_deployment(repository, "production", ids[1]).await.unwrap();
    client.revive_earlier_deployment(repository, "production", ids[1]).await.unwrap();
    assert_eq!(
        states(&sandbox.deployments("acme/shop")[0]),
        ["queued", "in_progress", "success", "inactive", "success"]
    );

    for state in [CommitState::Pending, CommitState::Pending, CommitState::Failure] {
        let shown = Shown { page: Some(&page), ..shown(state, "stage") };
        client.show_commit(repository, &head, "panda/production", shown).await.unwrap();
    }
    let statuses = sandbox.commit_statuses("acme/shop");
    let of: Vec<&str> = statuses.iter().map(|one| one["state"].as_str().unwrap()).collect();
    assert_eq!(of, ["pending", "failure"]);
    // A failed status of the commit does not keep Panda from deploying it again.
    deployment("dep_3").await;
    assert_eq!(recorder.posts(), 2 + 2 * 3 + 1 + 1 + 1 + 2 + 2);
    recorder.assert_described();
}

#[tokio::test]
async fn github_deployments__refusals_name_their_reason_and_no_token() {
    let (sandbox, _root) = github().await;
    let client = GitHub::new(sandbox.api_url().parse().unwrap(), Duration::from_secs(5)).unwrap();
    let head = sandbox.repositories().head("acme", "shop", "main").await.unwrap().sha;
    let ensure = |repo: &'static str, token: &'static str, sha: String| {
        let client = client.clone();
        async move {
            let token = SecretString::from(token);
            let repository = Repository { owner: "acme", name: repo, token: &token };
            let new = DeploymentAtGitHub { id: "dep_1", sha: &sha, environment: "production", is_production: true };
            client.ensure_deployment(repository, new, shown(GitHubState::Queued, "queued")).await.unwrap_err()
        }
    };
    assert!(matches!(ensure("shop", "ghp_wrong", head.clone()).await, GitHubError::BadToken));
    assert!(matches!(ensure("nope", TOKEN, head.clone()).await, GitHubError::RepositoryNotFound));
    let unknown = ensure("shop", TOKEN, "0".repeat(40)).await;
    assert!(unknown.to_string().contains("No ref found for: 0000"), "{unknown}");
    sandbox.set_faults(GitHubFaults { read_only: true, ..GitHubFaults::default() });
    let narrow = ensure("shop", TOKEN, head.clone()).await;
    assert!(matches!(&narrow, GitHubError::NoAccess(reason) if reason.contains("not accessible")), "{narrow}");
    sandbox.set_faults(GitHubFaults { rate_limited: true, ..GitHubFaults::default() });
    assert!(matches!(ensure("shop", TOKEN, head.clone()).await, GitHubError::RateLimited { retry_after: Some(_) }));
    sandbox.set_faults(GitHubFaults { unavailable: true, ..GitHubFaults::default() });
    let unavailable = ensure("shop", TOKEN, head).await;
    assert!(!format!("{unavailable} {unavailable:?}").contains(TOKEN));
    assert!(sandbox.deployments("acme/shop").is_empty());
}
