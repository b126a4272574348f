//! The GitHub client against a server that answers as GitHub documents.

mod deployments;
mod manifest;

use std::time::Duration;

use axum::{
    Json, Router,
    extract::Path,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::get,
};
use panda::clients::{
    ErrorKind,
    github::{GitHub, GitHubError},
};
use secrecy::SecretString;
use serde_json::json;
use url::Url;

use super::{serve, unreachable_address};

fn refusal(status: StatusCode, headers: &[(&'static str, &'static str)], message: &str) -> Response {
    let mut answer = (status, Json(json!({ "message": message }))).into_response();
    for (name, value) in headers {
        answer.headers_mut().insert(*name, value.parse().unwrap());
    }
    answer
}

/// The answer selected by the token.
fn by_token(headers: &HeaderMap) -> Option<Response> {
    assert_eq!(headers["accept"], "application/vnd.github+json");
    assert!(headers["user-agent"].to_str().unwrap().starts_with("panda/"));
    match headers["authorization"].to_str().unwrap() {
        "Bearer good" => None,
        "Bearer limited" => Some(refusal(
            StatusCode::FORBIDDEN,
            &[("x-ratelimit-remaining", "0"), ("retry-after", "7")],
            "rate limit exceeded",
        )),
        "Bearer narrow" => {
            Some(refusal(StatusCode::FORBIDDEN, &[], "Resource not accessible by personal access token"))
        }
        "Bearer broken" => Some(refusal(StatusCode::BAD_GATEWAY, &[], "Server Error")),
        _ => Some(refusal(StatusCode::UNAUTHORIZED, &[], "Bad credentials")),
    }
}

async fn api() -> Url {
    let repository = |headers: HeaderMap, Path((owner, repo)): Path<(String, String)>| async move {
        by_token(&headers).unwrap_or_else(|| match (owner.as_str(), repo.as_str()) {
            ("acme", "shop") => Json(json!({ "full_name": "acme/shop" })).into_response(),
            _ => refusal(StatusCode::NOT_FOUND, &[], "Not Found"),
        })
    };
    let branch = |headers: HeaderMap, Path((_, _, branch)): Path<(String, String, String)>| async move {
        by_token(&headers).unwrap_or_else(|| match branch.as_str() {
            // One decoded path segment: the slash arrived encoded.
            "main" | "feature/a b" => Json(json!({ "name": branch })).into_response(),
            _ => refusal(StatusCode::NOT_FOUND, &[], "Branch not found"),
        })
    };
    let routes = Router::new()
        .route("/api/v3/repos/{owner}/{repo}", get(repository))
        .route("/api/v3/repos/{owner}/{repo}/branches/{branch}", get(branch));
    serve(routes).await.join("api/v3/").unwrap()
}

async fn check(url: Url, repo: &str, branch: &str, token: &str) -> Result<(), GitHubError> {
    let github = GitHub::new(url, Duration::from_secs(5)).unwrap();
    github.check("acme", repo, branch, &SecretString::from(token)).await
}

#[tokio::test]
async fn github__readable_branch_accepted() {
    for branch in ["main", "feature/a b"] {
        check(api().await, "shop", branch, "good").await.unwrap();
    }
}

#[tokio::test]
async fn github__refusals_distinguished() {
    let url = api().await;
    let check = |repo: &'static str, branch: &'static str, token: &'static str| check(url.clone(), repo, branch, token);
    assert!(matches!(check("shop", "main", "wrong").await, Err(GitHubError::BadToken)));
    assert!(matches!(check("shop", "nope", "good").await, Err(GitHubError::BranchNotFound)));
    for repo in ["nope", "../../user", "a?b"] {
        assert!(matches!(check(repo, "main", "good").await, Err(GitHubError::RepositoryNotFound)), "{repo}");
    }
    let limited = check("shop", "main", "limited").await;
    assert!(matches!(limited, Err(GitHubError::RateLimited { retry_after: Some(wait) }) if wait.as_secs() == 7));
    let narrow = check("shop", "main", "narrow").await;
    assert!(matches!(narrow, Err(GitHubError::NoAccess(reason)) if reason.contains("not accessible")));
    let broken = check("shop", "main", "broken").await;
    assert!(matches!(broken, Err(GitHubError::Unavailable(error)) if error.kind == ErrorKind::Unavailable));
}

#[tokio::test]
async fn github__unreachable_names_no_token() {
    let error = check(unreachable_address().await, "shop", "main", "tok3n").await.unwrap_err();
    assert!(matches!(&error, GitHubError::Unavailable(error) if error.kind == ErrorKind::Unavailable));
    assert!(!format!("{error} {error:?}").contains("tok3n"));
}
