use panda::domain::connection::AwsCredentials;
use panda_sandbox::Sandbox;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::http::{Api, ExternalServices, count, external_services};
use crate::support::db::TestDb;

pub const PATH: &str = "/api/v1/connect/aws";
pub const MESSAGE: &str = "AWS 연결에 성공했습니다.";

/// An API with the sandbox's AWS.
pub struct AwsApi {
    pub db: TestDb,
    pub sandbox: Sandbox,
    pub api: Api,
}

pub async fn env() -> AwsApi {
    let sandbox = external_services::sandbox().await;
    let db = TestDb::new().await;
    let api = Api::serve_with(&db.db, &ExternalServices::default().with_aws(&sandbox), &[]).await;
    AwsApi { db, sandbox, api }
}

impl AwsApi {
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
async fn connect_aws__valid_keys_stored_with_account() {
    let env = env().await;
    let body = env.keys(&json!({}));
    let answer = env.api.post(PATH, &body).await;
    let data = answer.data(MESSAGE);
    let id = data["awsConnectionId"].as_str().unwrap();
    assert!(id.starts_with("aws_") && data.as_object().unwrap().len() == 1);
    assert!(!answer.text.contains(body["secretAccessKey"].as_str().unwrap()));
    let stored = env.db.db.aws_connection(id).await.unwrap().unwrap();
    assert_eq!((stored.region.as_str(), stored.account_id.len()), (env.sandbox.region(), 12));
    assert!(matches!(stored.credentials, AwsCredentials::Keys(_)));
}

#[tokio::test]
async fn connect_aws__unknown_keys_refused() {
    let env = env().await;
    let answer = env.api.post(PATH, &env.keys(&json!({"accessKeyId": "AKIAIOSFODNN7EXAMPLE"}))).await;
    assert_eq!(answer.refused_field("AWS_CREDENTIALS_REFUSED"), "accessKeyId");
    assert_eq!(count(&env.db, "aws_connections").await, 0);
}

#[tokio::test]
async fn connect_aws__either_keys_or_role_validated() {
    let env = env().await;
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
        (env.keys(&json!({"sessionToken": "a\nb"})), "sessionToken"),
        (env.keys(&json!({"roleArn": role})), "accessKeyId"),
        (env.keys(&json!({"externalId": "x"})), "externalId"),
        (json!({"region": "ap-northeast-2", "roleArn": "arn:aws:iam::1:role/x"}), "roleArn"),
        (json!({"region": "ap-northeast-2", "roleArn": role, "external": "x"}), "external"),
    ] {
        assert_eq!(env.api.post(PATH, &body).await.refused_field("INVALID_FIELD"), field, "{body}");
    }
    assert_eq!(count(&env.db, "aws_connections").await, 0);
}

#[tokio::test]
async fn connect_aws__unreachable_aws_answers_503() {
    let env = env().await;
    let api = Api::serve(&env.db.db).await;
    let answer = api.post(PATH, &env.keys(&json!({}))).await;
    answer.problem(502, "AWS_UNAVAILABLE");
    assert!(!answer.header("retry-after").is_empty());
    assert_eq!(count(&env.db, "aws_connections").await, 0);
}
