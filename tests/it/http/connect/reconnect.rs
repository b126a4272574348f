//! Connecting again renews the existing connection and lists it first, for the same tenant only.

use std::sync::Arc;

use futures_util::future::join_all;
use panda::domain::connection::AwsCredentials;
use panda::domain::principal::Role;
use panda_sandbox::git::SourceFile;
use panda_sandbox::github::GitHub;
use pretty_assertions::assert_eq;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::aws;
use crate::http::auth::Token;
use crate::http::external_services::{self, TOKEN};
use crate::http::{Api, ExternalServices, count};
use crate::support::db::TestDb;

const GITHUB: &str = "/api/v1/connect/github";
const MESSAGE: &str = "GitHub 연결에 성공했습니다.";

fn body(change: &Value) -> Value {
    let mut body = json!({"owner": "acme", "repo": "shop", "branch": "main", "token": TOKEN});
    for (name, value) in change.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

fn github_id(data: &Value) -> String {
    data["githubConnectionId"].as_str().unwrap().to_owned()
}

/// Replaces the token of `acme/shop`.
async fn rotate(github: &GitHub, token: &str) {
    let files = vec![SourceFile::new("Dockerfile", "FROM scratch\n")];
    github.repositories().add_repository("acme", "shop", Some(token.into()), "main", files).await.unwrap();
}

async fn listed(api: &Api, kind: &str) -> Vec<String> {
    let data = api.get("/api/v1/connections").await.data("연결 정보를 조회했습니다.");
    let all = data[kind].as_array().unwrap();
    all.iter().map(|one| one["connectionId"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn connect_github__latest_listed_first() {
    let (github, _root) = external_services::github().await;
    let db = TestDb::new().await;
    let api = Api::serve_with(&db.db, &ExternalServices::default().with_github(&github), &[]).await;
    for branch in ["next", "third"] {
        github.repositories().commit("acme", "shop", branch, Vec::new()).await.unwrap();
    }
    let connect = async |change: Value| github_id(&api.post(GITHUB, &body(&change)).await.data(MESSAGE));
    let main = connect(json!({})).await;
    let next = connect(json!({"branch": "next"})).await;
    let third = connect(json!({"branch": "third"})).await;
    assert_eq!(listed(&api, "github").await, [third.clone(), next.clone(), main.clone()]);

    rotate(&github, "ghp_rotated").await;
    assert_eq!(connect(json!({"token": "ghp_rotated"})).await, main);
    assert_eq!(listed(&api, "github").await, [main.clone(), third.clone(), next.clone()]);
    assert_eq!(connect(json!({"token": "ghp_rotated", "branch": "next", "owner": "ACME", "repo": "Shop"})).await, next);
    assert_eq!(listed(&api, "github").await, [next, main.clone(), third]);
    let stored = db.db.github_connection(&main).await.unwrap().unwrap();
    assert_eq!((stored.token.expose_secret(), stored.owner.as_str()), ("ghp_rotated", "acme"));
    let answer = api.post(GITHUB, &body(&json!({"token": "ghp_wrong"}))).await;
    assert_eq!(answer.refused_field("GITHUB_TOKEN_REFUSED"), "token");
    let stored = db.db.github_connection(&main).await.unwrap().unwrap();
    assert_eq!(stored.token.expose_secret(), "ghp_rotated", "a token that does not work replaces none");
    // The order survives a clock that was set back, or a failover to a machine whose clock is behind.
    let ahead = "UPDATE github_connections SET renewed_at = now() + interval '1 hour' WHERE branch = 'next'";
    sqlx::query(ahead).execute(&mut db.psql().await).await.unwrap();
    connect(json!({"token": "ghp_rotated"})).await;
    assert_eq!(listed(&api, "github").await[0], main);
}

#[tokio::test]
async fn connect_github__build_secrets_survive_renewal() {
    let (github, _root) = external_services::github().await;
    let db = TestDb::new().await;
    let api = Api::serve_with(&db.db, &ExternalServices::default().with_github(&github), &[]).await;
    let id = github_id(&api.post(GITHUB, &body(&json!({}))).await.data(MESSAGE));
    let secret = format!("{GITHUB}/{id}/secrets/npm");
    assert_eq!(api.put(&secret, &json!({"value": "a-build-secret"})).await.status, 200);
    rotate(&github, "ghp_rotated").await;
    api.post(GITHUB, &body(&json!({"token": "ghp_rotated"}))).await.data(MESSAGE);
    let stored = db.db.github_connection(&id).await.unwrap().unwrap();
    assert_eq!(stored.build_secrets["npm"].expose_secret(), "a-build-secret");
    assert_eq!(stored.token.expose_secret(), "ghp_rotated");
}

#[tokio::test]
async fn connect_github__removed_not_renewed() {
    let (github, _root) = external_services::github().await;
    let db = TestDb::new().await;
    let api = Api::serve_with(&db.db, &ExternalServices::default().with_github(&github), &[]).await;
    let first = github_id(&api.post(GITHUB, &body(&json!({}))).await.data(MESSAGE));
    assert_eq!(api.delete(&format!("/api/v1/connections/{first}")).await.status, 200);
    let second = github_id(&api.post(GITHUB, &body(&json!({}))).await.data(MESSAGE));
    assert_ne!(first, second);
    assert_eq!(listed(&api, "github").await, [second]);
}

#[tokio::test]
async fn connect_github__other_tenant_not_renewed() {
    let (github, _root) = external_services::github().await;
    let db = TestDb::new().await;
    let api = Api::serve_with(&db.db, &ExternalServices::default().with_github(&github), &["--auth=required"]).await;
    let connect = async |token: &Token, body: &Value| github_id(&token.post(&api, GITHUB, body).await.data(MESSAGE));
    let mine = Token::scoped(&db.db, Role::Deployer, &["acme/shop"]).await;
    let id = connect(&mine, &body(&json!({}))).await;
    rotate(&github, "ghp_rotated").await;
    let renewed = body(&json!({"token": "ghp_rotated"}));
    let mut ids = vec![id.clone()];
    for other in [Token::scoped(&db.db, Role::Admin, &["acme/*"]).await, Token::of(&db.db, Role::Admin).await] {
        ids.push(connect(&other, &renewed).await);
    }
    assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2], "{ids:?}");
    let stored = db.db.github_connection(&id).await.unwrap().unwrap();
    assert_eq!(stored.token.expose_secret(), TOKEN, "the other tenant's connection is unchanged");
    let successor = Token::scoped(&db.db, Role::Deployer, &["ACME/Shop"]).await;
    assert_eq!(connect(&successor, &renewed).await, id, "a token that replaces another one is the same tenant");
}

#[tokio::test]
async fn connect_github__concurrent_requests_make_one() {
    let (github, _root) = external_services::github().await;
    let db = TestDb::new().await;
    let there = ExternalServices::default().with_github(&github);
    let apis = [Api::serve_with(&db.db, &there, &[]).await, Api::serve_with(&db.db, &there, &[]).await];
    let answers = join_all((0..12).map(async |n: usize| {
        let owner = if n.is_multiple_of(3) { "ACME" } else { "acme" };
        github_id(&apis[n % 2].post(GITHUB, &body(&json!({"owner": owner}))).await.data(MESSAGE))
    }))
    .await;
    assert!(answers.iter().all(|id| *id == answers[0]), "{answers:?}");
    assert_eq!(count(&db, "github_connections").await, 1);
}

fn aws_id(data: &Value) -> String {
    data["awsConnectionId"].as_str().unwrap().to_owned()
}

/// Temporary keys of a role of the user's account.
fn session(env: &aws::AwsApi, role: &str, name: &str) -> Value {
    let (keys, token) = env.sandbox.user_session(role, name);
    json!({
        "region": env.sandbox.region(), "accessKeyId": keys.access_key_id,
        "secretAccessKey": keys.secret_access_key.expose_secret(), "sessionToken": token.expose_secret(),
    })
}

#[tokio::test]
async fn connect_aws__same_identity_renews_and_is_listed_first() {
    let env = aws::env().await;
    let connect = async |body: &Value| aws_id(&env.api.post(aws::PATH, body).await.data(aws::MESSAGE));
    let user = connect(&env.keys(&json!({}))).await;
    let deployer = connect(&session(&env, "deployer", "monday")).await;
    let other = connect(&session(&env, "other", "monday")).await;
    assert_eq!(listed(&env.api, "aws").await, [other.clone(), deployer.clone(), user.clone()]);
    // Each session has its own keys; the identity is the same.
    let tuesday = session(&env, "deployer", "tuesday");
    assert_eq!(connect(&tuesday).await, deployer);
    assert_eq!(connect(&env.keys(&json!({}))).await, user);
    assert_eq!(listed(&env.api, "aws").await, [user, deployer.clone(), other.clone()]);
    let stored = env.db.db.aws_connection(&deployer).await.unwrap().unwrap();
    let AwsCredentials::Keys(keys) = stored.credentials else { panic!() };
    assert_eq!(keys.access_key_id, tuesday["accessKeyId"].as_str().unwrap());
    assert_eq!(keys.session_token.unwrap().expose_secret(), tuesday["sessionToken"].as_str().unwrap());

    // A connection for other repositories is separate: neither takes rights from the other.
    let mut narrow = tuesday.clone();
    narrow["repositories"] = json!(["acme/shop"]);
    let narrower = connect(&narrow).await;
    assert_ne!(narrower, deployer);
    narrow["repositories"] = json!(["ACME/shop", "acme/SHOP"]);
    assert_eq!(connect(&narrow).await, narrower);

    // A role of the account is a different identity from the user's keys.
    let role = format!("arn:aws:iam::{}:role/deployer", env.sandbox.user_account_id());
    let body = json!({"region": env.sandbox.region(), "roleArn": role});
    let refused = env.api.post(aws::PATH, &body).await.problem(409, "AWS_ROLE_NOT_TRUSTING");
    env.sandbox.put_role_for(&role, refused["externalId"].as_str().unwrap());
    let by_role = connect(&body).await;
    assert!(![&deployer, &other, &narrower].contains(&&by_role));
    assert_eq!(connect(&body).await, by_role);
    let actions =
        "SELECT count(*) FROM audit WHERE action = 'connect.aws' AND target = $1 AND (details ->> 'renewed')::boolean";
    let renewed: i64 = sqlx::query_scalar(actions).bind(&by_role).fetch_one(&mut env.db.psql().await).await.unwrap();
    assert_eq!(renewed, 1);
}

#[tokio::test]
async fn connect_aws__other_tenant_not_renewed() {
    let env = aws::env().await;
    let external = ExternalServices::default().with_aws(&env.sandbox);
    let api = Api::serve_with(&env.db.db, &external, &["--auth=required"]).await;
    let connect =
        async |token: &Token, body: &Value| aws_id(&token.post(&api, aws::PATH, body).await.data(aws::MESSAGE));
    let mine = Token::scoped(&env.db.db, Role::Deployer, &["acme/*"]).await;
    let admin = Token::of(&env.db.db, Role::Admin).await;
    let theirs = Token::scoped(&env.db.db, Role::Deployer, &["acme/*", "toys/*"]).await;
    let keys = env.keys(&json!({}));
    let mut for_acme = keys.clone();
    for_acme["repositories"] = json!(["acme/*"]);
    let ids = [
        connect(&mine, &keys).await,
        connect(&admin, &keys).await,
        connect(&admin, &for_acme).await,
        connect(&theirs, &for_acme).await,
    ];
    let different: std::collections::BTreeSet<&String> = ids.iter().collect();
    assert_eq!(different.len(), 4, "{ids:?}");
    assert_eq!(connect(&mine, &for_acme).await, ids[0], "the same scope, said aloud");
}

#[tokio::test]
async fn connect_aws__concurrent_requests_make_one() {
    let env = Arc::new(aws::env().await);
    let there = ExternalServices::default().with_aws(&env.sandbox);
    let other = Api::serve_with(&env.db.db, &there, &[]).await;
    let apis = [&env.api, &other];
    let bodies: Vec<Value> = (0..12).map(|n| session(&env, "deployer", &format!("session-{n}"))).collect();
    let answers = join_all(
        bodies
            .iter()
            .enumerate()
            .map(async |(n, body)| aws_id(&apis[n % 2].post(aws::PATH, body).await.data(aws::MESSAGE))),
    )
    .await;
    assert!(answers.iter().all(|id| *id == answers[0]), "{answers:?}");
    assert_eq!(count(&env.db, "aws_connections").await, 1);
    let stored = env.db.db.aws_connection(&answers[0]).await.unwrap().unwrap();
    let AwsCredentials::Keys(keys) = stored.credentials else { panic!() };
    assert!(
        bodies.iter().any(|body| body["accessKeyId"] == keys.access_key_id
            && body["sessionToken"] == keys.session_token.as_ref().unwrap().expose_secret()),
        "of one request, whole"
    );
}
