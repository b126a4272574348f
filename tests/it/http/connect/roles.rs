//! Roles are assumed with an external id that Panda derives for the caller's scope, and only when their trust policy requires it.

use panda::domain::connection::AwsCredentials;
use panda::domain::principal::Role;
use pretty_assertions::assert_eq;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::aws::{AwsApi, MESSAGE, PATH, env};
use crate::http::auth::Token;
use crate::http::{Answer, Api, ExternalServices, aws, count};

const REQUIRED: &[&str] = &["--auth=required"];

impl AwsApi {
    fn role(&self, name: &str) -> String {
        format!("arn:aws:iam::{}:role/{name}", self.sandbox.user_account_id())
    }

    fn body(&self, role: &str) -> Value {
        json!({"region": self.sandbox.region(), "roleArn": role})
    }

    /// Another process on the same database.
    async fn replica(&self, flags: &[&str]) -> Api {
        Api::serve_with(&self.db.db, &ExternalServices::default().with_aws(&self.sandbox), flags).await
    }

    /// Creates a role that the controller's account may assume under a condition.
    fn trusting(&self, role: &str, condition: &Value) {
        let principal = format!("arn:aws:iam::{}:root", self.sandbox.controller_account_id());
        let statement = json!({"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": principal}, "Condition": condition});
        self.sandbox.put_role(role, &json!({"Version": "2012-10-17", "Statement": [statement]}));
    }

    /// The external id in a refusal.
    fn refused(answer: &Answer, code: &str) -> String {
        let problem = answer.problem(409, code);
        assert_eq!(problem["field"], "roleArn");
        let id = problem["externalId"].as_str().unwrap().to_owned();
        assert!(problem["message"].as_str().unwrap().contains(&id), "the remedy names it: {problem}");
        id
    }
}

#[tokio::test]
async fn connect_role__accepted_when_external_id_required() {
    let env = env().await;
    let role = env.role("team/panda");
    let body = env.body(&role);
    let unknown = env.api.post(PATH, &body).await;
    let id = AwsApi::refused(&unknown, "AWS_ROLE_NOT_TRUSTING");
    assert!(unknown.text.contains(env.sandbox.controller_account_id()), "names the role to trust: {}", unknown.text);
    env.sandbox.put_role_for(&role, "another-tenants");
    assert_eq!(AwsApi::refused(&env.api.post(PATH, &body).await, "AWS_ROLE_NOT_TRUSTING"), id);
    assert_eq!(count(&env.db, "aws_connections").await, 0);

    env.sandbox.put_role_for(&role, &id);
    let data = env.api.post(PATH, &body).await.data(MESSAGE);
    assert_eq!(data["externalId"], id);
    let stored = env.db.db.aws_connection(data["awsConnectionId"].as_str().unwrap()).await.unwrap().unwrap();
    assert_eq!(stored.account_id, env.sandbox.user_account_id());
    let AwsCredentials::Role { role_arn, external_id } = stored.credentials else { panic!() };
    assert_eq!((role_arn, external_id.expose_secret()), (role, id.as_str()), "it is always sent");
}

#[tokio::test]
async fn connect_role__refused_while_assumable_without_external_id() {
    let env = env().await;
    let role = env.role("panda");
    let body = env.body(&role);
    let id = AwsApi::refused(&env.api.post(PATH, &body).await, "AWS_ROLE_NOT_TRUSTING");
    let of = |operator: &str, value: Value| json!({operator: {"sts:ExternalId": value}});
    for open in [
        json!({}),
        of("StringLike", json!("*")),
        of("StringLike", json!("panda-*")),
        of("StringLike", json!(format!("{}*", &id[..id.len() - 1]))),
        of("StringLike", json!(format!("{}?", &id[..id.len() - 1]))),
        of("StringLike", json!("?".repeat(id.len()))),
        of("StringEqualsIfExists", json!(id)),
        of("StringNotEquals", json!("another")),
    ] {
        env.trusting(&role, &open);
        assert_eq!(AwsApi::refused(&env.api.post(PATH, &body).await, "AWS_ROLE_WITHOUT_EXTERNAL_ID"), id, "{open}");
    }
    assert_eq!(count(&env.db, "aws_connections").await, 0);
    env.trusting(&role, &of("StringEquals", json!(["another-ones", id])));
    env.api.post(PATH, &body).await.data(MESSAGE);
}

#[tokio::test]
async fn external_id__other_tenant_cannot_assume() {
    let env = env().await;
    let api = env.replica(REQUIRED).await;
    let mine = Token::scoped(&env.db.db, Role::Deployer, &["acme/*"]).await;
    let role = env.role("acme");
    let body = env.body(&role);
    let id = AwsApi::refused(&mine.post(&api, PATH, &body).await, "AWS_ROLE_NOT_TRUSTING");
    env.sandbox.put_role_for(&role, &id);
    mine.post(&api, PATH, &body).await.data(MESSAGE);

    let mut ids = vec![id];
    let all = Token::of(&env.db.db, Role::Admin).await;
    for scope in [&["toys/*"][..], &["acme/shop"], &["acme/*", "toys/*"]] {
        let other = Token::scoped(&env.db.db, Role::Admin, scope).await;
        ids.push(AwsApi::refused(&other.post(&api, PATH, &body).await, "AWS_ROLE_NOT_TRUSTING"));
    }
    ids.push(AwsApi::refused(&all.post(&api, PATH, &body).await, "AWS_ROLE_NOT_TRUSTING"));
    // A caller with a wider scope may not replace a connection of a narrower one.
    let mut narrow = body.clone();
    narrow["repositories"] = json!(["acme/*"]);
    ids.push(AwsApi::refused(&all.post(&api, PATH, &narrow).await, "AWS_ROLE_NOT_TRUSTING"));
    assert_eq!(ids.pop(), ids.last().cloned(), "of the caller's scope, whatever the connection is for");
    let different: std::collections::BTreeSet<&String> = ids.iter().collect();
    assert_eq!(different.len(), ids.len(), "{ids:?}");
    assert_eq!(count(&env.db, "aws_connections").await, 1);
}

#[tokio::test]
async fn external_id__stable_per_tenant_across_processes_and_tokens() {
    let env = env().await;
    let body = env.body(&env.role("acme"));
    let mut ids = std::collections::BTreeSet::new();
    for scope in [&["acme/*"][..], &["ACME/*", "acme/shop"]] {
        let api = env.replica(REQUIRED).await;
        let token = Token::scoped(&env.db.db, Role::Deployer, scope).await;
        ids.insert(AwsApi::refused(&token.post(&api, PATH, &body).await, "AWS_ROLE_NOT_TRUSTING"));
    }
    assert_eq!(ids.len(), 1, "{ids:?}");
    let (required, off) = (env.replica(REQUIRED).await, env.replica(&["--no-auth"]).await);
    let admin = Token::of(&env.db.db, Role::Admin).await;
    let of_admin = AwsApi::refused(&admin.post(&required, PATH, &body).await, "AWS_ROLE_NOT_TRUSTING");
    assert_eq!(AwsApi::refused(&off.post(PATH, &body).await, "AWS_ROLE_NOT_TRUSTING"), of_admin);
    assert!(!ids.contains(&of_admin));
}

#[tokio::test]
async fn external_id__supplied_by_caller_refused() {
    let env = env().await;
    let role = env.role("panda");
    env.sandbox.put_role_for(&role, "chosen-by-the-caller");
    for id in [json!("chosen-by-the-caller"), json!(""), json!(7), json!({}), json!([]), json!(false)] {
        for body in [env.body(&role), env.keys(&json!({}))] {
            let mut body = body;
            body["externalId"] = id.clone();
            let answer = env.api.post(PATH, &body).await;
            assert_eq!(answer.refused_field("INVALID_FIELD"), "externalId", "{body}");
            assert!(answer.text.contains("derives") && !answer.text.contains("chosen-by"), "{}", answer.text);
        }
    }
    assert_eq!(count(&env.db, "aws_connections").await, 0);
    let document = env.api.get("/api-docs/openapi.json").await.json();
    let fields = &document["components"]["schemas"]["ConnectAws"]["properties"];
    assert!(fields["roleArn"].is_object() && fields["externalId"].is_null(), "{fields}");
}

#[tokio::test]
async fn external_id__absent_without_installation_secret() {
    let env = env().await;
    let body = env.body(&env.role("panda"));
    sqlx::query("DELETE FROM installation").execute(&mut env.db.psql().await).await.unwrap();
    env.api.post(PATH, &body).await.problem(500, "INTERNAL");
    assert_eq!(env.api.post(PATH, &env.keys(&json!({}))).await.status, 200, "keys need no external id");
}

#[tokio::test]
async fn controller_role__refused_unless_configured() {
    let env = env().await;
    let role = |name: &str| format!("arn:aws:iam::{}:role/{name}", env.sandbox.controller_account_id());
    let (named, other) = (role("deploy/panda"), role("admin"));
    let refused = async |api: &Api, role: &str| {
        let answer = api.post(PATH, &env.body(role)).await;
        assert_eq!(answer.refused_field("AWS_CONTROLLER_ROLE"), "roleArn");
        assert!(answer.text.contains("PANDA_CONTROLLER_ROLES"), "{}", answer.text);
    };
    for role in [&named, &other] {
        refused(&env.api, role).await;
    }
    let api = env.replica(&[&format!("--controller-roles={named}")]).await;
    let id = AwsApi::refused(&api.post(PATH, &env.body(&named)).await, "AWS_ROLE_NOT_TRUSTING");
    env.trusting(&named, &json!({}));
    AwsApi::refused(&api.post(PATH, &env.body(&named)).await, "AWS_ROLE_WITHOUT_EXTERNAL_ID");
    env.sandbox.put_role_for(&named, &id);
    let data = api.post(PATH, &env.body(&named)).await.data(MESSAGE);
    env.sandbox.put_role_for(&other, &id);
    for similar in [other, role("panda"), role("deploy/Panda"), role("deploy/panda2")] {
        refused(&api, &similar).await;
    }
    refused(&env.api, &named).await;

    // Once the option is removed, existing connections are no longer used.
    let stored = env.db.db.aws_connection(data["awsConnectionId"].as_str().unwrap()).await.unwrap().unwrap();
    let user = aws(&ExternalServices::default().with_aws(&env.sandbox), &[]).await.user(
        &stored.id,
        &stored.region,
        &stored.credentials,
    );
    let error = user.sts.caller_identity().await.unwrap_err();
    assert!(error.message.contains("PANDA_CONTROLLER_ROLES"), "{error}");
}

#[tokio::test]
async fn controller_role__none_connected_while_controller_unknown() {
    let env = env().await;
    let role = env.role("panda");
    let id = AwsApi::refused(&env.api.post(PATH, &env.body(&role)).await, "AWS_ROLE_NOT_TRUSTING");
    env.sandbox.put_role_for(&role, &id);
    let mut external = ExternalServices::default().with_aws(&env.sandbox);
    external.controller.access_key_id = "AKIAUNKNOWN000000000".to_owned();
    let api = Api::serve_with(&env.db.db, &external, &[]).await;
    let answer = api.post(PATH, &env.body(&role)).await;
    answer.problem(503, "AWS_CONTROLLER_UNKNOWN");
    assert!(!answer.header("retry-after").is_empty() && answer.text.contains("credentials"), "{}", answer.text);
    assert_eq!(count(&env.db, "aws_connections").await, 0);
}

#[tokio::test]
async fn connect_role__wrong_arn_kind_or_partition_refused() {
    let env = env().await;
    let account = env.sandbox.user_account_id();
    for arn in [
        format!("arn:aws:sts::{account}:assumed-role/panda/session"),
        format!("arn:aws:iam::{account}:user/panda"),
        format!("arn:aws:iam::{account}:role/"),
        format!("arn:aws:iam::{account}:role/team/"),
        format!("arn:aws:iam::{account}1:role/panda"),
        format!("arn:aws:iam::{}:role/panda", &account[1..]),
        format!("arn:aws:iam:ap-northeast-2:{account}:role/panda"),
        format!("arn:aws:lambda::{account}:role/panda"),
        format!("arn:aws-cn:iam::{account}:role/panda"),
        format!("arn:aws-us-gov:iam::{account}:role/panda"),
        format!("arn:aws:iam::{account}:role/panda "),
        "panda".to_owned(),
        String::new(),
    ] {
        let answer = env.api.post(PATH, &env.body(&arn)).await;
        assert_eq!(answer.refused_field("INVALID_FIELD"), "roleArn", "{arn}");
    }
    // A region of the role's partition, which is not the controller's.
    let body = json!({"region": "cn-north-1", "roleArn": format!("arn:aws-cn:iam::{account}:role/panda")});
    assert_eq!(env.api.post(PATH, &body).await.refused_field("AWS_PARTITION_DIFFERS"), "roleArn");
}
