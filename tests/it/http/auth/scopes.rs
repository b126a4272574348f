//! Everything out of scope behaves as if it did not exist.

use panda::domain::principal::Role;
use pretty_assertions::assert_eq;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::{Token, serve};
use crate::http::{Api, ExternalServices, Fixture, external_services, fixture};
use crate::support::db::TestDb;

#[tokio::test]
async fn scopes__lists_and_streams_filtered() {
    let db = TestDb::new().await;
    let api = serve(&db.db).await;
    let mine = Token::scoped(&db.db, Role::Viewer, &["Acme/Shop"]).await;
    let owners = Token::scoped(&db.db, Role::Viewer, &["toys/*", "acme/site"]).await;
    let mut fixtures = Vec::new();
    for (owner, repo) in [("acme", "shop"), ("acme", "site"), ("toys", "robot"), ("acme2", "shop")] {
        fixtures.push(Fixture::begin_of(&db.db, owner, repo).await);
    }
    let listed = async |token: &Token, query: &str| {
        let list = token.get(&api, &format!("/api/v1/deploy{query}")).await.data("배포 목록 조회 성공");
        let names = list["deployments"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| format!("{}/{}", item["owner"].as_str().unwrap(), item["repo"].as_str().unwrap()));
        names.collect::<Vec<_>>()
    };
    assert_eq!(listed(&mine, "").await, ["acme/shop"]);
    assert_eq!(listed(&owners, "").await, ["toys/robot", "acme/site"]);
    assert_eq!(listed(&mine, "?owner=toys").await, Vec::<String>::new());
    let current = mine.get(&api, "/api/v1/deploy/current").await.data("현재 배포 조회 성공");
    assert_eq!(current["deploymentId"], fixtures[0].id(), "not the newest of all");
    let connections = mine.get(&api, "/api/v1/connections").await.data("연결 정보를 조회했습니다.");
    assert_eq!(connections["github"].as_array().unwrap().len(), 1, "{connections}");
    assert_eq!(connections["aws"], json!([]), "a connection for all repositories is outside a narrower scope");

    let mut all = mine.follow(&api, "/api/v1/events").await;
    assert_eq!(all.status, 200);
    for fixture in fixtures.iter_mut().rev() {
        fixture.build_lines(1, 1).await;
    }
    let event = all.take(1).await.remove(0).json();
    assert_eq!(event["deploymentId"], fixtures[0].id(), "though it was written last");
    let ids: Vec<Value> = {
        let mut theirs = owners.follow(&api, "/api/v1/events").await;
        for fixture in &mut fixtures {
            fixture.build_lines(2, 2).await;
        }
        theirs.take(2).await.iter().map(|event| event.json()["deploymentId"].clone()).collect()
    };
    assert_eq!(ids, [json!(fixtures[1].id()), json!(fixtures[2].id())]);
}

#[tokio::test]
async fn scopes__foreign_deployment_not_found() {
    let db = TestDb::new().await;
    let api = serve(&db.db).await;
    let token = Token::scoped(&db.db, Role::Admin, &["acme/shop"]).await;
    let mut theirs = Fixture::begin_of(&db.db, "toys", "robot").await;
    theirs.ready().await;
    let id = theirs.id();
    let unknown = token.get(&api, "/api/v1/deploy/dep_unknown/result").await.json();
    for path in ["result", "events", "log"] {
        let problem =
            token.get(&api, &format!("/api/v1/deploy/{id}/{path}")).await.problem(404, "DEPLOYMENT_NOT_FOUND");
        let same = |text: &Value| text.as_str().unwrap().replace(id, "dep_unknown");
        assert_eq!(same(&problem["message"]), unknown["message"].as_str().unwrap());
    }
    for command in ["switch", "cancel", "retry"] {
        let path = format!("/api/v1/deploy/{id}/{command}");
        token.post(&api, &path, &json!({})).await.problem(404, "DEPLOYMENT_NOT_FOUND");
        let request = token.request(&api, reqwest::Method::POST, &path).header("idempotency-key", "k");
        assert_eq!(request.send().await.unwrap().status(), 404);
    }
    let view = db.db.deployment(id).await.unwrap().unwrap();
    assert!(view.switch_requested_at.is_none() && view.status == "DEPLOYMENT_READY", "{view:?}");
    let cancelled: Option<chrono::DateTime<chrono::Utc>> =
        sqlx::query_scalar("SELECT cancel_requested_at FROM deployments")
            .fetch_one(&mut db.psql().await)
            .await
            .unwrap();
    assert_eq!(cancelled, None);
}

#[tokio::test]
async fn scopes__deploy_and_connect_outside_refused() {
    let db = TestDb::new().await;
    let ((github, _root), sandbox) = (external_services::github().await, external_services::sandbox().await);
    let there = ExternalServices::default().with_github(&github).with_aws(&sandbox);
    let api = Api::serve_with(&db.db, &there, &["--auth=required"]).await;
    let token = Token::scoped(&db.db, Role::Deployer, &["acme/shop"]).await;
    let all = Token::of(&db.db, Role::Deployer).await;
    let connect =
        |repo: &str| json!({"owner": "acme", "repo": repo, "branch": "main", "token": external_services::TOKEN});
    token.post(&api, "/api/v1/connect/github", &connect("other")).await.problem(403, "OUT_OF_SCOPE");
    let github = token.post(&api, "/api/v1/connect/github", &connect("shop")).await.data("GitHub 연결에 성공했습니다.");

    let keys = sandbox.user_credentials();
    let account = |repositories: Value| {
        json!({"region": sandbox.region(), "accessKeyId": keys.access_key_id,
               "secretAccessKey": keys.secret_access_key.expose_secret(), "repositories": repositories})
    };
    let connect_aws = async |by: &Token, repositories: Value| {
        let answer = by.post(&api, "/api/v1/connect/aws", &account(repositories)).await;
        answer.data("AWS 연결에 성공했습니다.")["awsConnectionId"].clone()
    };
    for out in [json!(["acme/*"]), json!(["toys/robot"])] {
        token.post(&api, "/api/v1/connect/aws", &account(out)).await.problem(403, "OUT_OF_SCOPE");
    }
    for wrong in [json!([]), json!(["acme"]), json!(["*/*"])] {
        let refused = token.post(&api, "/api/v1/connect/aws", &account(wrong)).await;
        assert_eq!(refused.refused_field("INVALID_FIELD"), "repositories");
    }
    let for_all = connect_aws(&all, Value::Null).await;
    let for_toys = connect_aws(&all, json!(["toys/*"])).await;
    let for_acme = connect_aws(&all, json!(["acme/*"])).await;
    let mine = connect_aws(&token, Value::Null).await;

    let deploy = |github: &Value, aws: &Value, repo: &str| json!({"githubConnectionId": github, "awsConnectionId": aws, "owner": "acme", "repo": repo, "branch": "main"});
    let their_github = json!(fixture::github_connection(&db.db, "acme", "other").await);
    let refused =
        async |by: &Token, body: &Value| by.post(&api, "/api/v1/deploy", body).await.refused_field("INVALID_FIELD");
    assert_eq!(refused(&token, &deploy(&their_github, &mine, "other")).await, "githubConnectionId");
    let github = &github["githubConnectionId"];
    for aws in [&for_all, &for_toys] {
        assert_eq!(refused(&token, &deploy(github, aws, "shop")).await, "awsConnectionId");
    }
    assert_eq!(refused(&all, &deploy(github, &for_toys, "shop")).await, "awsConnectionId", "it is not for this one");
    for aws in [&for_acme, &mine] {
        let body = deploy(github, aws, "shop");
        let answer = token.post(&api, "/api/v1/deploy", &body).await;
        let id = answer.data("배포가 시작되었습니다.")["deploymentId"].as_str().unwrap().to_owned();
        let cancel = format!("/api/v1/deploy/{id}/cancel");
        assert_eq!(token.post(&api, &cancel, &json!({})).await.status, 200);
        sqlx::query("UPDATE deployments SET status = 'FAILED', error_code = 'CANCELLED', error_message = 'm', completed_at = now()")
            .execute(&mut db.psql().await)
            .await
            .unwrap();
    }
    let listed =
        |by: &Value| by["aws"].as_array().unwrap().iter().map(|item| item["connectionId"].clone()).collect::<Vec<_>>();
    let seen = token.get(&api, "/api/v1/connections").await.data("연결 정보를 조회했습니다.");
    assert_eq!(listed(&seen), [mine.clone(), for_acme.clone()]);
    let seen = all.get(&api, "/api/v1/connections").await.data("연결 정보를 조회했습니다.");
    assert_eq!(listed(&seen), [mine, for_acme, for_toys, for_all]);
}

#[tokio::test]
async fn scopes__idempotency_keys_per_caller() {
    let db = TestDb::new().await;
    let api = serve(&db.db).await;
    let (one, two) = (Token::of(&db.db, Role::Approver).await, Token::of(&db.db, Role::Deployer).await);
    let fixture = Fixture::begin(&db.db).await;
    let cancel = format!("/api/v1/deploy/{}/cancel", fixture.id());
    let keyed = async |by: &Token, body: Value| {
        let request = by.request(&api, reqwest::Method::POST, &cancel).header("idempotency-key", "k").json(&body);
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(keyed(&one, json!({})).await, 200);
    assert_eq!(keyed(&two, json!({"why": "mine"})).await, 200);
    assert_eq!(keyed(&one, json!({"why": "mine"})).await, 422);
}

#[tokio::test]
async fn scopes__foreign_repository_name_hidden() {
    let db = TestDb::new().await;
    let api = serve(&db.db).await;
    let token = Token::scoped(&db.db, Role::Deployer, &["a-b/c"]).await;
    Fixture::begin_at(&db.db, "a", "b-c", "123456789012").await;
    let github = fixture::github_connection(&db.db, "a-b", "c").await;
    let aws = fixture::aws_connection(&db.db).await;
    sqlx::query("UPDATE aws_connections SET scope = ARRAY['a-b/*']").execute(&mut db.psql().await).await.unwrap();
    let body =
        json!({"githubConnectionId": github, "awsConnectionId": aws, "owner": "a-b", "repo": "c", "branch": "main"});
    let refused = token.post(&api, "/api/v1/deploy", &body).await;
    refused.problem(409, "REPOSITORY_NAME_TAKEN");
    assert!(!refused.text.contains("a/b-c"), "{}", refused.text);
    let all = Token::of(&db.db, Role::Deployer).await.post(&api, "/api/v1/deploy", &body).await;
    assert!(all.text.contains("a/b-c"), "{}", all.text);
}
