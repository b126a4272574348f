use panda::domain::connection::AwsCredentials;
use panda::sandbox::Sandbox;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::http::{Api, Outside, count, outside};
use crate::support::db::TestDb;

pub const PATH: &str = "/api/v1/connect/aws";
pub const MESSAGE: &str = "AWS 연결에 성공했습니다.";

/// An API with the sandbox's AWS.
pub struct World {
    pub db: TestDb,
    pub sandbox: Sandbox,
    pub api: Api,
}

pub async fn world() -> World {
    let sandbox = outside::sandbox().await;
    let db = TestDb::new().await;
    let api = Api::serve_with(&db.db, &Outside::default().with_aws(&sandbox), &[]).await;
    World { db, sandbox, api }
}

impl World {
    pub fn keys(&self, change: &Value) -> Value {
        let keys = self.sandbox.user_credentials();
        let mut body = json!({
            "region": self.sandbox.region(),
            "accessKeyId": keys.access_key_id,
            "secretAccessKey": keys.secret_access_key.expose_secret(),
        });
        for (name, value) in change.as_object().unwrap() {
            body[name] = value.clone();
        }
        body
    }
}

#[tokio::test]
async fn keys_that_sts_knows_are_connected_with_their_account() {
    let world = world().await;
    let body = world.keys(&json!({}));
    let answer = world.api.post(PATH, &body).await;
    let data = answer.data(MESSAGE);
    let id = data["awsConnectionId"].as_str().unwrap();
    assert!(id.starts_with("aws_") && data.as_object().unwrap().len() == 1);
    assert!(!answer.text.contains(body["secretAccessKey"].as_str().unwrap()));
    let stored = world.db.db.aws_connection(id).await.unwrap().unwrap();
    assert_eq!((stored.region.as_str(), stored.account_id.len()), (world.sandbox.region(), 12));
    assert!(matches!(stored.credentials, AwsCredentials::Keys(_)));
}

#[tokio::test]
async fn keys_that_sts_does_not_know_are_refused_and_not_stored() {
    let world = world().await;
    let answer = world.api.post(PATH, &world.keys(&json!({"accessKeyId": "AKIAIOSFODNN7EXAMPLE"}))).await;
    assert_eq!(answer.refused_field("AWS_CREDENTIALS_REFUSED"), "accessKeyId");
    assert_eq!(count(&world.db, "aws_connections").await, 0);
}

#[tokio::test]
async fn either_keys_or_a_role_and_each_by_its_rule() {
    let world = world().await;
    let role = "arn:aws:iam::123456789012:role/panda";
    for (body, field) in [
        (json!({}), "region"),
        (json!({"region": "mars-north-1"}), "region"),
        (json!({"region": "ap-northeast-2"}), "accessKeyId"),
        (json!({"region": "ap-northeast-2", "accessKeyId": "AKIAIOSFODNN7EXAMPLE"}), "secretAccessKey"),
        (json!({"region": "ap-northeast-2", "accessKeyId": "short", "secretAccessKey": "x"}), "accessKeyId"),
        (
            json!({"region": "ap-northeast-2", "accessKeyId": "AKIAIOSFODNN7EXAMPLE", "secretAccessKey": "a b"}),
            "secretAccessKey",
        ),
        (world.keys(&json!({"sessionToken": "a\nb"})), "sessionToken"),
        (world.keys(&json!({"roleArn": role})), "accessKeyId"),
        (world.keys(&json!({"externalId": "x"})), "externalId"),
        (json!({"region": "ap-northeast-2", "roleArn": "arn:aws:iam::1:role/x"}), "roleArn"),
        (json!({"region": "ap-northeast-2", "roleArn": role, "external": "x"}), "external"),
    ] {
        assert_eq!(world.api.post(PATH, &body).await.refused_field("INVALID_FIELD"), field, "{body}");
    }
    assert_eq!(count(&world.db, "aws_connections").await, 0);
}

#[tokio::test]
async fn an_aws_that_is_away_is_not_the_users_fault() {
    let world = world().await;
    let api = Api::serve(&world.db.db).await;
    let answer = api.post(PATH, &world.keys(&json!({}))).await;
    answer.problem(502, "AWS_UNAVAILABLE");
    assert!(!answer.header("retry-after").is_empty());
    assert_eq!(count(&world.db, "aws_connections").await, 0);
}
