//! `PUT /api/v1/connect/…/{id}`: new credentials for an existing connection.

use panda::domain::connection::AwsCredentials;
use panda::domain::principal::Role;
use panda_sandbox::git::SourceFile;
use pretty_assertions::assert_eq;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::aws::{self, AwsApi, env};
use crate::http::auth::Token;
use crate::http::external_services::{self, TOKEN};
use crate::http::{Api, ExternalServices, count};
use crate::support::db::TestDb;

const GITHUB: &str = "GitHub 연결에 성공했습니다.";

async fn audited(db: &TestDb, target: &str) -> Vec<(String, String, Option<String>)> {
    let sql = "SELECT action, result, error_code FROM audit WHERE target = $1 ORDER BY id";
    sqlx::query_as(sql).bind(target).fetch_all(&mut db.psql().await).await.unwrap()
}

#[tokio::test]
async fn renew_github__token_replaced_in_place() {
    let (github, _root) = external_services::github().await;
    let db = TestDb::new().await;
    let api = Api::serve_with(&db.db, &ExternalServices::default().with_github(&github), &[]).await;
    github.repositories().commit("acme", "shop", "next", Vec::new()).await.unwrap();
    let connect = async |branch: &str| {
        let body = json!({"owner": "acme", "repo": "shop", "branch": branch, "token": TOKEN});
        let data = api.post("/api/v1/connect/github", &body).await.data(GITHUB);
        data["githubConnectionId"].as_str().unwrap().to_owned()
    };
    let (id, next) = (connect("main").await, connect("next").await);
    let path = format!("/api/v1/connect/github/{id}");
    let token = async || db.db.github_connection(&id).await.unwrap().unwrap().token.expose_secret().to_owned();

    let files = vec![SourceFile::new("Dockerfile", "FROM scratch\n")];
    github.repositories().add_repository("acme", "shop", Some("ghp_rotated".into()), "main", files).await.unwrap();
    assert_eq!(api.put(&path, &json!({"token": TOKEN})).await.refused_field("GITHUB_TOKEN_REFUSED"), "token");
    for (body, field) in [
        (json!({}), "token"),
        (json!({"token": ""}), "token"),
        (json!({"token": "a b"}), "token"),
        (json!({"token": "ghp_rotated", "repository": "x"}), "repository"),
    ] {
        assert_eq!(api.put(&path, &body).await.refused_field("INVALID_FIELD"), field, "{body}");
    }
    for (field, value) in [("owner", "toys"), ("repo", "site"), ("branch", "next"), ("branch", "Main")] {
        let mut body = json!({"token": "ghp_rotated"});
        body[field] = value.into();
        let answer = api.put(&path, &body).await;
        assert_eq!(answer.problem(409, "CONNECTION_DIFFERS")["field"], field);
        assert!(answer.text.contains("/api/v1/connect/github"), "the remedy is a new connection: {}", answer.text);
    }
    assert_eq!(token().await, TOKEN, "no refused request changed it");

    for body in [
        json!({"token": "ghp_rotated"}),
        json!({"token": "ghp_rotated", "owner": "ACME", "repo": "Shop", "branch": "main"}),
    ] {
        assert_eq!(api.put(&path, &body).await.data(GITHUB), json!({"githubConnectionId": id}));
        assert_eq!(token().await, "ghp_rotated");
    }
    let list = api.get("/api/v1/connections").await.json()["data"]["github"].clone();
    let ids: Vec<&str> = list.as_array().unwrap().iter().map(|one| one["connectionId"].as_str().unwrap()).collect();
    assert_eq!(ids, [id.as_str(), &next]);
    assert_eq!(count(&db, "github_connections").await, 2);
    let audited = audited(&db, &id).await;
    let done = audited.iter().filter(|(action, result, _)| action == "connection.renew" && result == "done").count();
    assert_eq!(done, 2, "{audited:?}");
    let refused: Vec<&str> = audited.iter().filter_map(|(_, _, code)| code.as_deref()).collect();
    assert!(refused.contains(&"GITHUB_TOKEN_REFUSED") && refused.contains(&"CONNECTION_DIFFERS"), "{audited:?}");
}

#[tokio::test]
async fn renew__unknown_removed_or_foreign_not_found() {
    let env = env().await;
    let (github, _root) = external_services::github().await;
    let there = ExternalServices::default().with_aws(&env.sandbox).with_github(&github);
    let api = Api::serve_with(&env.db.db, &there, &["--auth=required"]).await;
    let mine = Token::scoped(&env.db.db, Role::Deployer, &["acme/*"]).await;
    let other = Token::scoped(&env.db.db, Role::Admin, &["toys/*"]).await;
    let viewer = Token::scoped(&env.db.db, Role::Viewer, &["acme/*"]).await;
    let source = json!({"owner": "acme", "repo": "shop", "branch": "main", "token": TOKEN});
    let gh = mine.post(&api, "/api/v1/connect/github", &source).await.json()["data"]["githubConnectionId"].clone();
    let aws = mine.post(&api, aws::PATH, &env.keys(&json!({}))).await.json()["data"]["awsConnectionId"].clone();
    let (gh, aws) = (gh.as_str().unwrap(), aws.as_str().unwrap());
    let (token, keys) = (json!({"token": TOKEN}), env.keys(&json!({})));
    let paths = |gh: &str, aws: &str| {
        [(format!("/api/v1/connect/github/{gh}"), &token), (format!("/api/v1/connect/aws/{aws}"), &keys)]
    };
    for (path, body) in paths(gh, aws) {
        other.put(&api, &path, body).await.problem(404, "CONNECTION_NOT_FOUND");
        viewer.put(&api, &path, body).await.problem(403, "NOT_ALLOWED");
        assert_eq!(api.put(&path, body).await.status, 401);
        assert_eq!(mine.put(&api, &path, body).await.status, 200);
    }
    for (path, body) in paths("gh_unknown", "aws_unknown").into_iter().chain(paths(aws, gh)).chain(paths("x", "y")) {
        mine.put(&api, &path, body).await.problem(404, "CONNECTION_NOT_FOUND");
    }
    // A caller may deploy with a connection for more than their scope, but may not change it.
    let admin = Token::of(&env.db.db, Role::Admin).await;
    let wide = env.keys(&json!({"repositories": ["acme/*", "toys/*"]}));
    let wide = admin.post(&api, aws::PATH, &wide).await.json()["data"]["awsConnectionId"].clone();
    let path = format!("/api/v1/connect/aws/{}", wide.as_str().unwrap());
    mine.put(&api, &path, &keys).await.problem(404, "CONNECTION_NOT_FOUND");
    assert_eq!(admin.put(&api, &path, &keys).await.status, 200);
    for id in [gh, aws] {
        let request = mine.request(&api, reqwest::Method::DELETE, &format!("/api/v1/connections/{id}"));
        assert_eq!(request.send().await.unwrap().status(), 200);
    }
    for (path, body) in paths(gh, aws) {
        mine.put(&api, &path, body).await.problem(404, "CONNECTION_NOT_FOUND");
    }
}

impl AwsApi {
    /// Temporary keys of a role of the user's account, without a region.
    fn session(&self, role: &str, name: &str) -> Value {
        let (keys, token) = self.sandbox.user_session(role, name);
        json!({
            "accessKeyId": keys.access_key_id, "secretAccessKey": keys.secret_access_key.expose_secret(),
            "sessionToken": token.expose_secret(),
        })
    }

    async fn connect(&self, body: &Value) -> String {
        let data = self.api.post(aws::PATH, body).await.data(aws::MESSAGE);
        data["awsConnectionId"].as_str().unwrap().to_owned()
    }

    async fn stored(&self, id: &str) -> AwsCredentials {
        self.db.db.aws_connection(id).await.unwrap().unwrap().credentials
    }

    fn differs(answer: &crate::http::Answer, field: &str) {
        assert_eq!(answer.problem(409, "CONNECTION_DIFFERS")["field"], field);
        assert!(answer.text.contains(aws::PATH), "the remedy is a new connection: {}", answer.text);
    }
}

#[tokio::test]
async fn renew_aws__keys_replaced_in_place() {
    let env = env().await;
    let id = env.connect(&env.keys(&json!({}))).await;
    let path = format!("{}/{id}", aws::PATH);
    let region = env.sandbox.region();
    let keys = env.session("deployer", "monday");
    let with = |change: Value| {
        let mut body = keys.clone();
        for (name, value) in change.as_object().unwrap() {
            body[name] = value.clone();
        }
        body
    };
    let before = env.stored(&id).await;
    let controller = env.sandbox.controller_credentials();
    let other_account = json!({
        "accessKeyId": controller.access_key_id, "secretAccessKey": controller.secret_access_key.expose_secret(),
    });
    let answer = env.api.put(&path, &other_account).await;
    AwsApi::differs(&answer, "accessKeyId");
    assert!(answer.text.contains(env.sandbox.user_account_id()), "{}", answer.text);
    AwsApi::differs(&env.api.put(&path, &with(json!({"region": "us-east-1"}))).await, "region");
    AwsApi::differs(&env.api.put(&path, &with(json!({"repositories": ["acme/*"]}))).await, "repositories");
    let role = format!("arn:aws:iam::{}:role/panda", env.sandbox.user_account_id());
    AwsApi::differs(&env.api.put(&path, &json!({"roleArn": role})).await, "roleArn");
    for (body, field) in [
        (json!({}), "accessKeyId"),
        (json!({"accessKeyId": "AKIAIOSFODNN7EXAMPLE"}), "secretAccessKey"),
        (with(json!({"externalId": "x"})), "externalId"),
        (with(json!({"roleArn": role})), "accessKeyId"),
        (with(json!({"sessionToken": "a b"})), "sessionToken"),
        (with(json!({"account": "1"})), "account"),
    ] {
        assert_eq!(env.api.put(&path, &body).await.refused_field("INVALID_FIELD"), field, "{body}");
    }
    let unknown = json!({"accessKeyId": "AKIAIOSFODNN7EXAMPLE", "secretAccessKey": "x"});
    assert_eq!(env.api.put(&path, &unknown).await.refused_field("AWS_CREDENTIALS_REFUSED"), "accessKeyId");
    assert!(env.stored(&id).await.signs_in_as(&before), "no refused request changed it");

    for body in [keys.clone(), with(json!({"region": region}))] {
        assert_eq!(env.api.put(&path, &body).await.data(aws::MESSAGE), json!({"awsConnectionId": id}));
    }
    let AwsCredentials::Keys(stored) = env.stored(&id).await else { panic!() };
    assert_eq!(stored.access_key_id, keys["accessKeyId"].as_str().unwrap());
    assert_eq!(stored.session_token.unwrap().expose_secret(), keys["sessionToken"].as_str().unwrap());
    let done = audited(&env.db, &id).await;
    assert_eq!(done.iter().filter(|(action, result, _)| action == "connection.renew" && result == "done").count(), 2);

    // Connecting with the current identity renews the connection; the previous identity makes another.
    let mut again = env.session("deployer", "tuesday");
    again["region"] = region.into();
    assert_eq!(env.connect(&again).await, id);
    let second = env.connect(&env.keys(&json!({}))).await;
    assert_ne!(second, id);
    let answer = env.api.put(&format!("{}/{second}", aws::PATH), &env.session("deployer", "friday")).await;
    answer.problem(409, "CONNECTION_EXISTS");
    assert!(answer.text.contains(&id), "{}", answer.text);
}

#[tokio::test]
async fn renew_aws__role_keeps_external_id() {
    let env = env().await;
    let external = ExternalServices::default().with_aws(&env.sandbox);
    let api = Api::serve_with(&env.db.db, &external, &["--auth=required"]).await;
    let mine = Token::scoped(&env.db.db, Role::Deployer, &["acme/*"]).await;
    let admin = Token::of(&env.db.db, Role::Admin).await;
    let role = |name: &str| format!("arn:aws:iam::{}:role/{name}", env.sandbox.user_account_id());
    let body = |role: &str| json!({"region": env.sandbox.region(), "roleArn": role});
    let refused = mine.post(&api, aws::PATH, &body(&role("one"))).await.problem(409, "AWS_ROLE_NOT_TRUSTING");
    let id_of_mine = refused["externalId"].as_str().unwrap();
    for name in ["one", "two"] {
        env.sandbox.put_role_for(&role(name), id_of_mine);
    }
    let made = mine.post(&api, aws::PATH, &body(&role("one"))).await.data(aws::MESSAGE);
    let path = format!("{}/{}", aws::PATH, made["awsConnectionId"].as_str().unwrap());

    // A caller with a wider scope renews the role with the external id that its policy requires, and may not change the role.
    assert_eq!(admin.put(&api, &path, &json!({"roleArn": role("one")})).await.data(aws::MESSAGE), made);
    AwsApi::differs(&admin.put(&api, &path, &json!({"roleArn": role("two")})).await, "roleArn");
    assert_eq!(mine.put(&api, &path, &json!({"roleArn": role("two")})).await.data(aws::MESSAGE), made);

    let foreign = "arn:aws:iam::111122223333:role/one";
    AwsApi::differs(&mine.put(&api, &path, &json!({"roleArn": foreign})).await, "roleArn");
    let keys = env.session("deployer", "monday");
    AwsApi::differs(&mine.put(&api, &path, &keys).await, "accessKeyId");
    env.sandbox.put_role_for(&role("two"), "another-id-by-now");
    let refused = mine.put(&api, &path, &json!({"roleArn": role("two")})).await.problem(409, "AWS_ROLE_NOT_TRUSTING");
    assert_eq!(refused["externalId"], id_of_mine);
    for id in ["x", ""] {
        let body = json!({"roleArn": role("two"), "externalId": id});
        assert_eq!(mine.put(&api, &path, &body).await.refused_field("INVALID_FIELD"), "externalId");
    }
}
