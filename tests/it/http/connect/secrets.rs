//! Build secrets of a connection.

use panda::domain::Caller;
use panda::domain::principal::Role;
use pretty_assertions::assert_eq;
use reqwest::Method;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::http::auth::{Token, serve};
use crate::http::{Answer, Api, count, fixture};
use crate::support::db::TestDb;

const LISTED: &str = "빌드 시크릿 목록 조회 성공";
const SET: &str = "빌드 시크릿이 저장되었습니다.";

fn path(connection: &str, name: &str) -> String {
    format!("/api/v1/connect/github/{connection}/secrets/{name}")
}

async fn set(api: &Api, connection: &str, name: &str, value: &str) -> Answer {
    let request = api.request(Method::PUT, &path(connection, name)).json(&json!({"value": value}));
    Answer::of(request.send().await.unwrap()).await
}

async fn remove(api: &Api, connection: &str, name: &str) -> Answer {
    Answer::of(api.request(Method::DELETE, &path(connection, name)).send().await.unwrap()).await
}

async fn names(api: &Api, connection: &str) -> Vec<String> {
    let answer = api.get(&format!("/api/v1/connect/github/{connection}/secrets")).await;
    assert!(!answer.text.contains("canary"), "{}", answer.text);
    let secrets = answer.data(LISTED)["secrets"].as_array().unwrap().clone();
    secrets.iter().map(|secret| secret["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn build_secrets__set_replaced_listed_and_removed() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let id = fixture::github_connection(&db.db, "acme", "shop").await;
    let first = set(&api, &id, "npm_token", "canary one").await.data(SET);
    assert_eq!((first["name"].as_str(), first.as_object().unwrap().len()), (Some("npm_token"), 3));
    let again = set(&api, &id, "npm_token", "canary two").await.data(SET);
    assert_eq!(first["createdAt"], again["createdAt"]);
    set(&api, &id, "A.key", "canary\nof two lines").await.data(SET);
    assert_eq!(names(&api, &id).await, ["A.key", "npm_token"]);
    let loaded = db.db.github_connection(&id).await.unwrap().unwrap().build_secrets;
    let values: Vec<&str> = loaded.values().map(ExposeSecret::expose_secret).collect();
    assert_eq!(values, ["canary\nof two lines", "canary two"]);

    remove(&api, &id, "npm_token").await.data("빌드 시크릿이 삭제되었습니다.");
    remove(&api, &id, "npm_token").await.problem(404, "BUILD_SECRET_NOT_FOUND");
    assert_eq!(names(&api, &id).await, ["A.key"]);
    let audit: Vec<(String, Value)> =
        sqlx::query_as("SELECT action, details FROM audit WHERE result = 'done' ORDER BY id")
            .fetch_all(&mut db.psql().await)
            .await
            .unwrap();
    let npm = json!({"name": "npm_token"});
    let expected = [
        ("build_secret.set", &npm),
        ("build_secret.set", &npm),
        ("build_secret.set", &json!({"name": "A.key"})),
        ("build_secret.remove", &npm),
    ];
    assert_eq!(audit, expected.map(|(action, details)| (action.to_owned(), details.clone())));
}

#[tokio::test]
async fn build_secrets__names_values_and_count_limited() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let id = fixture::github_connection(&db.db, "acme", "shop").await;
    for name in ["1x", "a%20b", "a%2Fb", "%00", &"x".repeat(65)] {
        assert_eq!(set(&api, &id, name, "canary value").await.refused_field("INVALID_FIELD"), "name", "{name}");
        assert_eq!(remove(&api, &id, name).await.refused_field("INVALID_FIELD"), "name", "{name}");
    }
    for value in ["", "canary", "canary\u{0}canary", &"canary".repeat(9_000)] {
        let answer = set(&api, &id, "ok", value).await;
        assert_eq!(answer.refused_field("INVALID_FIELD"), "value");
        assert!(!answer.text.contains("canary"), "{}", answer.text);
    }
    for number in 0..20 {
        set(&api, &id, &format!("s{number}"), "canary value").await.data(SET);
    }
    set(&api, &id, "s20", "canary value").await.problem(409, "TOO_MANY_BUILD_SECRETS");
    set(&api, &id, "s19", "canary another").await.data(SET);
}

#[tokio::test]
async fn build_secrets__need_the_right_to_connect() {
    let db = TestDb::new().await;
    let api = serve(&db.db).await;
    let id = fixture::github_connection(&db.db, "acme", "shop").await;
    let aws = fixture::aws_connection(&db.db).await;
    let other = Token::scoped(&db.db, Role::Admin, &["acme/blog"]).await;
    let viewer = Token::of(&db.db, Role::Viewer).await;
    let deployer = Token::scoped(&db.db, Role::Deployer, &["acme/*"]).await;
    let ask = async |token: &Token, method: Method, connection: &str| {
        let mut request = token.request(&api, method.clone(), &path(connection, "npm"));
        if method == Method::PUT {
            request = request.json(&json!({"value": "canary value"}));
        }
        Answer::of(request.send().await.unwrap()).await
    };
    for method in [Method::PUT, Method::DELETE] {
        ask(&other, method.clone(), &id).await.problem(404, "CONNECTION_NOT_FOUND");
        ask(&viewer, method.clone(), &id).await.problem(403, "NOT_ALLOWED");
        for unknown in ["gh_none", &aws] {
            ask(&deployer, method.clone(), unknown).await.problem(404, "CONNECTION_NOT_FOUND");
        }
    }
    let list = format!("/api/v1/connect/github/{id}/secrets");
    other.get(&api, &list).await.problem(404, "CONNECTION_NOT_FOUND");
    viewer.get(&api, &list).await.problem(403, "NOT_ALLOWED");
    assert_eq!(count(&db, "github_build_secrets").await, 0);
    ask(&deployer, Method::PUT, &id).await.data(SET);
    ask(&deployer, Method::DELETE, &id).await.data("빌드 시크릿이 삭제되었습니다.");
}

#[tokio::test]
async fn build_secrets__removed_with_connection() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let id = fixture::github_connection(&db.db, "acme", "shop").await;
    set(&api, &id, "npm", "canary value").await.data(SET);
    panda::commands::connect::remove::remove(&db.db, &id, &Caller::local()).await.unwrap();
    assert_eq!(count(&db, "github_build_secrets").await, 0);
    set(&api, &id, "npm", "canary value").await.problem(404, "CONNECTION_NOT_FOUND");
}
