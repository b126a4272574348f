//! Roles: assumed with an external id that Panda derives for the caller's scope, and only when their trust policy requires it.

use panda::domain::connection::AwsCredentials;
use panda::domain::principal::Role;
use pretty_assertions::assert_eq;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::aws::{MESSAGE, PATH, World, world};
use crate::http::auth::Token;
use crate::http::{Answer, Api, Outside, aws, count};

const REQUIRED: &[&str] = &["--auth=required"];

impl World {
    fn role(&self, name: &str) -> String {
        format!("arn:aws:iam::{}:role/{name}", self.sandbox.user_account_id())
    }

    fn body(&self, role: &str) -> Value {
        json!({"region": self.sandbox.region(), "roleArn": role})
    }

    /// Another process on the same database.
    async fn replica(&self, flags: &[&str]) -> Api {
        Api::serve_with(&self.db.db, &Outside::default().with_aws(&self.sandbox), flags).await
    }

    /// A role that is assumed by the controller's account under a condition.
    fn trusting(&self, role: &str, condition: &Value) {
        let principal = format!("arn:aws:iam::{}:root", self.sandbox.controller_account_id());
        let statement = json!({"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": principal}, "Condition": condition});
        self.sandbox.put_role(role, json!({"Version": "2012-10-17", "Statement": [statement]}));
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
async fn role_connected_once_its_trust_policy_requires_the_external_id() {
    let world = world().await;
    let role = world.role("team/panda");
    let body = world.body(&role);
    let unknown = world.api.post(PATH, &body).await;
    let id = World::refused(&unknown, "AWS_ROLE_NOT_TRUSTING");
    assert!(unknown.text.contains(world.sandbox.controller_account_id()), "whom to trust: {}", unknown.text);
    world.sandbox.put_role_for(&role, "another-tenants");
    assert_eq!(World::refused(&world.api.post(PATH, &body).await, "AWS_ROLE_NOT_TRUSTING"), id);
    assert_eq!(count(&world.db, "aws_connections").await, 0);

    world.sandbox.put_role_for(&role, &id);
    let data = world.api.post(PATH, &body).await.data(MESSAGE);
    assert_eq!(data["externalId"], id);
    let stored = world.db.db.aws_connection(data["awsConnectionId"].as_str().unwrap()).await.unwrap().unwrap();
    assert_eq!(stored.account_id, world.sandbox.user_account_id());
    let AwsCredentials::Role { role_arn, external_id } = stored.credentials else { panic!() };
    assert_eq!((role_arn, external_id.unwrap().expose_secret()), (role, id.as_str()), "it is always sent");
}

#[tokio::test]
async fn role_refused_while_it_can_be_assumed_without_the_external_id() {
    let world = world().await;
    let role = world.role("panda");
    let body = world.body(&role);
    let id = World::refused(&world.api.post(PATH, &body).await, "AWS_ROLE_NOT_TRUSTING");
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
        world.trusting(&role, &open);
        assert_eq!(World::refused(&world.api.post(PATH, &body).await, "AWS_ROLE_WITHOUT_EXTERNAL_ID"), id, "{open}");
    }
    assert_eq!(count(&world.db, "aws_connections").await, 0);
    world.trusting(&role, &of("StringEquals", json!(["another-ones", id])));
    world.api.post(PATH, &body).await.data(MESSAGE);
}

#[tokio::test]
async fn external_id_of_another_tenant_opens_no_role() {
    let world = world().await;
    let api = world.replica(REQUIRED).await;
    let mine = Token::scoped(&world.db.db, Role::Deployer, &["acme/*"]).await;
    let role = world.role("acme");
    let body = world.body(&role);
    let id = World::refused(&mine.post(&api, PATH, &body).await, "AWS_ROLE_NOT_TRUSTING");
    world.sandbox.put_role_for(&role, &id);
    mine.post(&api, PATH, &body).await.data(MESSAGE);

    let mut ids = vec![id];
    let all = Token::of(&world.db.db, Role::Admin).await;
    for scope in [&["toys/*"][..], &["acme/shop"], &["acme/*", "toys/*"]] {
        let other = Token::scoped(&world.db.db, Role::Admin, scope).await;
        ids.push(World::refused(&other.post(&api, PATH, &body).await, "AWS_ROLE_NOT_TRUSTING"));
    }
    ids.push(World::refused(&all.post(&api, PATH, &body).await, "AWS_ROLE_NOT_TRUSTING"));
    // Who may see more may not take the place of those who see less.
    let mut narrow = body.clone();
    narrow["repositories"] = json!(["acme/*"]);
    ids.push(World::refused(&all.post(&api, PATH, &narrow).await, "AWS_ROLE_NOT_TRUSTING"));
    assert_eq!(ids.pop(), ids.last().cloned(), "of the caller's scope, whatever the connection is for");
    let different: std::collections::BTreeSet<&String> = ids.iter().collect();
    assert_eq!(different.len(), ids.len(), "{ids:?}");
    assert_eq!(count(&world.db, "aws_connections").await, 1);
}

#[tokio::test]
async fn external_id_the_same_for_a_tenant_at_every_process_and_with_every_token() {
    let world = world().await;
    let body = world.body(&world.role("acme"));
    let mut ids = std::collections::BTreeSet::new();
    for scope in [&["acme/*"][..], &["ACME/*", "acme/shop"]] {
        let api = world.replica(REQUIRED).await;
        let token = Token::scoped(&world.db.db, Role::Deployer, scope).await;
        ids.insert(World::refused(&token.post(&api, PATH, &body).await, "AWS_ROLE_NOT_TRUSTING"));
    }
    assert_eq!(ids.len(), 1, "{ids:?}");
    let (required, off) = (world.replica(REQUIRED).await, world.replica(&["--no-auth"]).await);
    let admin = Token::of(&world.db.db, Role::Admin).await;
    let of_admin = World::refused(&admin.post(&required, PATH, &body).await, "AWS_ROLE_NOT_TRUSTING");
    assert_eq!(World::refused(&off.post(PATH, &body).await, "AWS_ROLE_NOT_TRUSTING"), of_admin);
    assert!(!ids.contains(&of_admin));
}

#[tokio::test]
async fn external_id_of_the_caller_is_not_accepted() {
    let world = world().await;
    let role = world.role("panda");
    world.sandbox.put_role_for(&role, "chosen-by-the-caller");
    for id in [json!("chosen-by-the-caller"), json!(""), json!(7), json!({}), json!([]), json!(false)] {
        for body in [world.body(&role), world.keys(&json!({}))] {
            let mut body = body;
            body["externalId"] = id.clone();
            let answer = world.api.post(PATH, &body).await;
            assert_eq!(answer.refused_field("INVALID_FIELD"), "externalId", "{body}");
            assert!(answer.text.contains("derives") && !answer.text.contains("chosen"), "{}", answer.text);
        }
    }
    assert_eq!(count(&world.db, "aws_connections").await, 0);
    let document = world.api.get("/api-docs/openapi.json").await.json();
    let fields = &document["components"]["schemas"]["ConnectAws"]["properties"];
    assert!(fields["roleArn"].is_object() && fields["externalId"].is_null(), "{fields}");
}

#[tokio::test]
async fn external_id_none_without_the_installations_secret() {
    let world = world().await;
    let body = world.body(&world.role("panda"));
    sqlx::query("DELETE FROM installation").execute(&mut world.db.psql().await).await.unwrap();
    world.api.post(PATH, &body).await.problem(500, "INTERNAL");
    assert_eq!(world.api.post(PATH, &world.keys(&json!({}))).await.status, 200, "keys need none");
}

#[tokio::test]
async fn controller_role_refused_unless_an_option_names_it() {
    let world = world().await;
    let role = |name: &str| format!("arn:aws:iam::{}:role/{name}", world.sandbox.controller_account_id());
    let (named, other) = (role("deploy/panda"), role("admin"));
    let refused = async |api: &Api, role: &str| {
        let answer = api.post(PATH, &world.body(role)).await;
        assert_eq!(answer.refused_field("AWS_CONTROLLER_ROLE"), "roleArn");
        assert!(answer.text.contains("PANDA_CONTROLLER_ROLES"), "{}", answer.text);
    };
    for role in [&named, &other] {
        refused(&world.api, role).await;
    }
    let api = world.replica(&[&format!("--controller-roles={named}")]).await;
    let id = World::refused(&api.post(PATH, &world.body(&named)).await, "AWS_ROLE_NOT_TRUSTING");
    world.trusting(&named, &json!({}));
    World::refused(&api.post(PATH, &world.body(&named)).await, "AWS_ROLE_WITHOUT_EXTERNAL_ID");
    world.sandbox.put_role_for(&named, &id);
    let data = api.post(PATH, &world.body(&named)).await.data(MESSAGE);
    world.sandbox.put_role_for(&other, &id);
    for similar in [other, role("panda"), role("deploy/Panda"), role("deploy/panda2")] {
        refused(&api, &similar).await;
    }
    refused(&world.api, &named).await;

    // Where the option is taken away, a connection from before is not used any more.
    let stored = world.db.db.aws_connection(data["awsConnectionId"].as_str().unwrap()).await.unwrap().unwrap();
    let user = aws(&Outside::default().with_aws(&world.sandbox), &[]).await.user(
        &stored.id,
        &stored.region,
        &stored.credentials,
    );
    let error = user.sts.caller_identity().await.unwrap_err();
    assert!(error.message.contains("PANDA_CONTROLLER_ROLES"), "{error}");
}

#[tokio::test]
async fn controller_unknown_no_role_is_connected() {
    let world = world().await;
    let role = world.role("panda");
    let id = World::refused(&world.api.post(PATH, &world.body(&role)).await, "AWS_ROLE_NOT_TRUSTING");
    world.sandbox.put_role_for(&role, &id);
    let mut outside = Outside::default().with_aws(&world.sandbox);
    outside.controller.access_key_id = "AKIAUNKNOWN000000000".to_owned();
    let api = Api::serve_with(&world.db.db, &outside, &[]).await;
    let answer = api.post(PATH, &world.body(&role)).await;
    answer.problem(503, "AWS_CONTROLLER_UNKNOWN");
    assert!(!answer.header("retry-after").is_empty() && answer.text.contains("credentials"), "{}", answer.text);
    assert_eq!(count(&world.db, "aws_connections").await, 0);
}

#[tokio::test]
async fn role_arn_of_another_kind_or_partition_is_refused() {
    let world = world().await;
    let account = world.sandbox.user_account_id();
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
        let answer = world.api.post(PATH, &world.body(&arn)).await;
        assert_eq!(answer.refused_field("INVALID_FIELD"), "roleArn", "{arn}");
    }
    // A region of the role's partition, which is not the controller's.
    let body = json!({"region": "cn-north-1", "roleArn": format!("arn:aws-cn:iam::{account}:role/panda")});
    assert_eq!(world.api.post(PATH, &body).await.refused_field("AWS_PARTITION_DIFFERS"), "roleArn");
}
