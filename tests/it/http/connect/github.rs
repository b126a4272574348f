use panda_sandbox::github::{GitHub, GitHubFaults};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::http::external_services::{self, TOKEN};
use crate::http::{Api, ExternalServices, count};
use crate::support::db::TestDb;

const PATH: &str = "/api/v1/connect/github";

struct GithubApi {
    db: TestDb,
    github: GitHub,
    api: Api,
    _root: TempDir,
}

async fn env() -> GithubApi {
    let (github, root) = external_services::github().await;
    let db = TestDb::new().await;
    let api = Api::serve_with(&db.db, &ExternalServices::default().with_github(&github), &[]).await;
    GithubApi { db, github, api, _root: root }
}

fn body(change: &Value) -> Value {
    let mut body = json!({"owner": "acme", "repo": "shop", "branch": "main", "token": TOKEN});
    for (name, value) in change.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

#[tokio::test]
async fn connect_github__confirmed_repository_stored() {
    let env = env().await;
    let answer = env.api.post(PATH, &body(&json!({}))).await;
    let data = answer.data("GitHub 연결에 성공했습니다.");
    let id = data["githubConnectionId"].as_str().unwrap();
    assert!(id.starts_with("gh_") && data.as_object().unwrap().len() == 1);
    assert!(!answer.text.contains(TOKEN));
    let stored = env.db.db.github_connection(id).await.unwrap().unwrap();
    assert_eq!((stored.owner.as_str(), stored.repo.as_str(), stored.branch.as_str()), ("acme", "shop", "main"));
    assert_eq!(stored.token.expose_secret(), TOKEN);
}

#[tokio::test]
async fn connect_github__unconfirmed_named_and_not_stored() {
    let env = env().await;
    for (change, code, field) in [
        (json!({"token": "ghp_wrong"}), "GITHUB_TOKEN_REFUSED", "token"),
        (json!({"repo": "missing"}), "GITHUB_REPOSITORY_NOT_FOUND", "repo"),
        (json!({"branch": "missing"}), "GITHUB_BRANCH_NOT_FOUND", "branch"),
    ] {
        let answer = env.api.post(PATH, &body(&change)).await;
        assert_eq!(answer.refused_field(code), field);
        assert!(!answer.text.contains("ghp_"), "{}", answer.text);
    }
    assert_eq!(count(&env.db, "github_connections").await, 0);
}

#[tokio::test]
async fn connect_github__invalid_refused_without_calling_github() {
    let env = env().await;
    env.github.set_faults(GitHubFaults { unavailable: true, ..GitHubFaults::default() });
    for (change, field) in [
        (json!({"owner": "a/b"}), "owner"),
        (json!({"owner": 1}), "owner"),
        (json!({"repo": ".."}), "repo"),
        (json!({"branch": "a..b"}), "branch"),
        (json!({"branch": "\u{0}"}), "branch"),
        (json!({"token": ""}), "token"),
        (json!({"token": "a\r\nb"}), "token"),
        (json!({"token": null}), "token"),
        (json!({"token": ["ghp_secret"]}), "token"),
        (json!({"tokn": "x"}), "tokn"),
    ] {
        assert_eq!(env.api.post(PATH, &body(&change)).await.refused_field("INVALID_FIELD"), field, "{change}");
    }
    let mut missing = body(&json!({}));
    missing.as_object_mut().unwrap().remove("branch");
    assert_eq!(env.api.post(PATH, &missing).await.refused_field("INVALID_FIELD"), "branch");
}

#[tokio::test]
async fn connect_github__unreachable_or_throttled_answers_503() {
    let env = env().await;
    env.github.set_faults(GitHubFaults { unavailable: true, ..GitHubFaults::default() });
    env.api.post(PATH, &body(&json!({}))).await.problem(502, "GITHUB_UNAVAILABLE");
    env.github.set_faults(GitHubFaults { rate_limited: true, ..GitHubFaults::default() });
    let answer = env.api.post(PATH, &body(&json!({}))).await;
    answer.problem(503, "GITHUB_RATE_LIMITED");
    assert!(answer.header("retry-after").parse::<u64>().unwrap() > 0);
    assert_eq!(count(&env.db, "github_connections").await, 0);
}
