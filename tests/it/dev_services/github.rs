use panda_sandbox::git::SourceFile;
use panda_sandbox::github::{GitHub, GitHubFaults};
use pretty_assertions::assert_eq;
use reqwest::Response;
use serde_json::Value;

use super::git::github;

async fn get(github: &GitHub, path: &str, token: Option<&str>) -> Response {
    let mut request = reqwest::Client::new().get(format!("{}{path}", github.api_url())).header("user-agent", "panda");
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    request.send().await.unwrap()
}

async fn get_json(github: &GitHub, path: &str, token: Option<&str>) -> (u16, Value) {
    let answer = get(github, path, token).await;
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn served() -> (GitHub, tempfile::TempDir, String) {
    let (github, root) = github().await;
    let repositories = github.repositories();
    let files = || vec![SourceFile::new("Dockerfile", "FROM scratch\n")];
    let head = repositories.add_repository("acme", "hello", Some("right".into()), "main", files()).await.unwrap();
    repositories.add_repository("acme", "open", None, "trunk", files()).await.unwrap();
    (github, root, head)
}

#[tokio::test]
async fn github_service__token_identifies_user() {
    let (github, _root, _) = served().await;
    let (status, user) = get_json(&github, "/user", Some("right")).await;
    assert_eq!((status, user["login"].as_str()), (200, Some("acme")));
    let (status, problem) = get_json(&github, "/user", Some("wrong")).await;
    assert_eq!((status, problem["message"].as_str()), (401, Some("Bad credentials")));
    let (status, problem) = get_json(&github, "/user", None).await;
    assert_eq!((status, problem["message"].as_str()), (401, Some("Requires authentication")));
}

#[tokio::test]
async fn github_service__repository_shown_to_permitted_token() {
    let (github, _root, _) = served().await;
    let (status, repository) = get_json(&github, "/repos/acme/hello", Some("right")).await;
    assert_eq!(status, 200);
    assert_eq!(repository["full_name"], "acme/hello");
    assert_eq!(repository["private"], true);
    assert_eq!(repository["default_branch"], "main");
    assert_eq!(repository["clone_url"], format!("{}/acme/hello.git", github.git_url()));
    for (path, token, expected) in [
        ("/repos/acme/hello", None, 404),
        ("/repos/acme/hello", Some("wrong"), 401),
        ("/repos/acme/missing", Some("right"), 404),
        ("/repos/acme/open", None, 200),
        ("/repos/..%2f/hello", Some("right"), 404),
        ("/nothing", Some("right"), 404),
    ] {
        let (status, body) = get_json(&github, path, token).await;
        assert_eq!(status, expected, "{path}");
        if status == 404 {
            assert_eq!(body["message"], "Not Found", "{path}");
            assert_eq!(body["status"], "404");
        }
    }
}

#[tokio::test]
async fn github_service__branch_found_with_encoded_slash() {
    let (github, _root, head) = served().await;
    let (status, main) = get_json(&github, "/repos/acme/hello/branches/main", Some("right")).await;
    assert_eq!((status, main["commit"]["sha"].as_str()), (200, Some(head.as_str())));
    let files = vec![SourceFile::new("x", "y")];
    let green = github.repositories().commit("acme", "hello", "feature/green", files).await.unwrap();
    for path in ["feature%2Fgreen", "feature/green"] {
        let (status, branch) = get_json(&github, &format!("/repos/acme/hello/branches/{path}"), Some("right")).await;
        assert_eq!((status, branch["name"].as_str()), (200, Some("feature/green")));
        assert_eq!(branch["commit"]["sha"], green);
    }
    for missing in ["nowhere", "..%2f..%2fHEAD", "a..b"] {
        let (status, body) = get_json(&github, &format!("/repos/acme/hello/branches/{missing}"), Some("right")).await;
        assert_eq!((status, body["message"].as_str()), (404, Some("Branch not found")), "{missing}");
    }
}

#[tokio::test]
async fn github_service__rate_limit_until_fault_ends() {
    let (github, _root, _) = served().await;
    github.set_faults(GitHubFaults { rate_limited: true, ..GitHubFaults::default() });
    let answer = get(&github, "/repos/acme/open", None).await;
    assert_eq!(answer.status(), 403);
    assert_eq!(answer.headers()["x-ratelimit-remaining"], "0");
    assert!(answer.headers().contains_key("x-ratelimit-reset"));
    let body: Value = answer.json().await.unwrap();
    assert!(body["message"].as_str().unwrap().starts_with("API rate limit exceeded"));
    github.set_faults(GitHubFaults::default());
    assert_eq!(get(&github, "/repos/acme/open", None).await.status(), 200);
    github.set_faults(GitHubFaults { unavailable: true, ..GitHubFaults::default() });
    assert_eq!(get(&github, "/repos/acme/open", None).await.status(), 503);
}

#[tokio::test]
async fn github_service__missing_user_agent_refused() {
    let (github, _root, _) = served().await;
    let answer =
        reqwest::Client::new().get(format!("{}/user", github.api_url())).bearer_auth("right").send().await.unwrap();
    assert_eq!(answer.status(), 403);
    assert!(answer.text().await.unwrap().contains("User-Agent"));
}
