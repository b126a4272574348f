use panda::domain::principal::Role;
use pretty_assertions::assert_eq;
use reqwest::Method;
use serde_json::json;

use super::auth::{Token, serve};
use super::{Answer, Api, Fixture, fixture};
use crate::support::db::TestDb;

const MESSAGE: &str = "연결 정보를 조회했습니다.";

#[tokio::test]
async fn connections__listed_without_secrets() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    assert_eq!(api.get("/api/v1/connections").await.data(MESSAGE), json!({"github": [], "aws": []}));
    let (github, aws) = fixture::connections(&db.db).await;
    let answer = api.get("/api/v1/connections").await;
    let expected = json!({
        "github": [{"connectionId": github, "owner": "acme", "repo": "shop", "branch": "main"}],
        "aws": [{"connectionId": aws, "region": "ap-northeast-2"}],
    });
    assert_eq!(answer.data(MESSAGE), expected);
    assert!(!answer.text.contains("very_secret"), "{}", answer.text);
}

#[tokio::test]
async fn connection_deletion__erased_unlisted_and_unusable() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut fixture = Fixture::begin(&db.db).await;
    let (github, aws) =
        (fixture.deployment().github_connection_id.clone(), fixture.deployment().aws_connection_id.clone());
    let remove = async |id: &str| {
        Answer::of(api.request(Method::DELETE, &format!("/api/v1/connections/{id}")).send().await.unwrap()).await
    };
    for id in [&github, &aws] {
        let problem = remove(id).await.problem(409, "CONNECTION_IN_USE");
        assert_eq!(problem["deploymentId"], fixture.id());
    }
    fixture.fail().await;
    for id in [&github, &aws] {
        assert_eq!(remove(id).await.data("연결이 삭제되었습니다."), json!({"connectionId": id}));
        remove(id).await.problem(404, "CONNECTION_NOT_FOUND");
    }
    let listed = api.get("/api/v1/connections").await.data("연결 정보를 조회했습니다.");
    assert_eq!(listed, json!({"github": [], "aws": []}));
    api.post(&format!("/api/v1/deploy/{}/retry", fixture.id()), &json!({})).await.problem(409, "CONNECTION_REMOVED");
    let body = json!({"githubConnectionId": github, "awsConnectionId": aws, "owner": "acme", "repo": "shop", "branch": "main"});
    assert_eq!(api.post("/api/v1/deploy", &body).await.refused_field("INVALID_FIELD"), "githubConnectionId");
    assert_eq!(api.get(&format!("/api/v1/deploy/{}/result", fixture.id())).await.status, 200, "the history stays");
    let sql = "SELECT row_to_json(g)::text || row_to_json(a)::text FROM github_connections g, aws_connections a";
    let rows: String = sqlx::query_scalar(sql).fetch_one(&mut db.psql().await).await.unwrap();
    for column in ["token_encrypted", "wrapped_key", "secret_access_key_encrypted", "external_id_encrypted"] {
        assert!(rows.contains(&format!("\"{column}\":null")) && !rows.contains(&format!("\"{column}\":\"")), "{rows}");
    }
}

#[tokio::test]
async fn connection_deletion__requires_scope_over_all_its_repositories() {
    let db = TestDb::new().await;
    let api = serve(&db.db).await;
    let (github, aws) =
        (fixture::github_connection(&db.db, "acme", "shop").await, fixture::aws_connection(&db.db).await);
    let remove = async |token: &Token, id: &str| {
        Answer::of(token.request(&api, Method::DELETE, &format!("/api/v1/connections/{id}")).send().await.unwrap())
            .await
    };
    let (shop, toys) = (
        Token::scoped(&db.db, Role::Deployer, &["acme/shop"]).await,
        Token::scoped(&db.db, Role::Deployer, &["toys/*"]).await,
    );
    remove(&toys, &github).await.problem(404, "CONNECTION_NOT_FOUND");
    remove(&shop, &aws).await.problem(404, "CONNECTION_NOT_FOUND");
    remove(&Token::of(&db.db, Role::Viewer).await, &github).await.problem(403, "NOT_ALLOWED");
    let sql = "UPDATE aws_connections SET scope = '{acme/shop}'";
    sqlx::query(sql).execute(&mut db.psql().await).await.unwrap();
    for id in [&github, &aws] {
        assert_eq!(remove(&shop, id).await.status, 200);
    }
}

#[tokio::test]
async fn connection_deletion__serialised_with_schedule_start() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    for _ in 0..10 {
        let (github, aws) = fixture::connections(&db.db).await;
        let body = json!({"githubConnectionId": github, "awsConnectionId": aws, "owner": "acme", "repo": "shop", "branch": "main"});
        let connection = format!("/api/v1/connections/{github}");
        let remove = async || api.request(Method::DELETE, &connection).send().await.unwrap().status().as_u16();
        let (started, removed) = tokio::join!(api.post("/api/v1/deploy", &body), remove());
        match (started.status, removed) {
            (200, 409) | (400 | 409, 200) => {}
            other => panic!("{other:?}: {}", started.text),
        }
        crate::schedules::end_all(&db).await;
    }
}
