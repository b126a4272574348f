//! Keys of KMS that wrap the data keys of stored secrets.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_kms::Client;
use panda::clients::aws::Aws;
use panda::db::{Db, DbError};
use panda::domain::connection::AwsKeys;
use panda::domain::keyring::{KeyError, Keyring};
use panda_sandbox::SandboxCredentials;
use pretty_assertions::assert_eq;
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use crate::cli::{panda, run};
use crate::http::external_services::{TOKEN, github};
use crate::http::fixture::github_connection_with;
use crate::http::{Api, ExternalServices, UNREACHABLE, count};
use crate::sandbox::harness;
use crate::support::db::{TestDb, open_with};
use crate::support::environment;
use panda_testing::moto::server::Moto;

const REGION: &str = "eu-west-1";

fn keys() -> AwsKeys {
    AwsKeys {
        access_key_id: "AKIATESTCONTROLLER00".into(),
        secret_access_key: SecretString::from("a-secret"),
        session_token: None,
    }
}

/// AWS clients for `endpoint`. The controller's region differs from that of the keys.
async fn aws(endpoint: &str) -> Aws {
    let endpoint = endpoint.parse().unwrap();
    environment::aws(Some(endpoint), Some("ap-northeast-2"), keys(), Duration::from_secs(10), &[]).await
}

fn with_keys(test: &TestDb, aws: &Aws, lines: &str) -> Db {
    let keyring = Keyring::parse(&SecretString::from(lines), &|arn| Arc::new(aws.kms_key(arn))).unwrap();
    open_with(test.url(), 3, Duration::from_secs(10), Some(Arc::new(keyring)))
}

/// Creates a key in moto and returns its line for the key file.
async fn kms_line(moto: &Url) -> String {
    let AwsKeys { access_key_id, secret_access_key, .. } = keys();
    let caller = SandboxCredentials { access_key_id, secret_access_key };
    let client = Client::new(&harness::config(moto.as_str(), REGION, &caller));
    let key = client.create_key().send().await.unwrap().key_metadata.unwrap();
    Keyring::name_kms(key.arn().unwrap()).unwrap()
}

async fn connect(db: &Db) -> String {
    github_connection_with(db, "acme", "shop", SecretString::from("ghp_canary")).await
}

async fn token(db: &Db, id: &str) -> Result<String, DbError> {
    Ok(db.github_connection(id).await?.unwrap().token.expose_secret().to_owned())
}

#[tokio::test]
async fn kms__secret_decrypts_only_in_its_row() {
    let (test, moto) = (TestDb::new().await, Moto::start().await);
    let aws = aws(moto.url().as_str()).await;
    let db = with_keys(&test, &aws, &kms_line(moto.url()).await);
    db.check_keys().await.unwrap();
    let (mine, theirs) = (connect(&db).await, connect(&db).await);
    assert_eq!(token(&db, &mine).await.unwrap(), "ghp_canary");

    let another = with_keys(&test, &aws, &kms_line(moto.url()).await);
    let refused = token(&another, &mine).await.unwrap_err();
    assert!(matches!(refused, DbError::Key(KeyError::Unknown { .. })), "{refused}");

    let sql = "UPDATE github_connections m SET token_encrypted = t.token_encrypted, wrapped_key = t.wrapped_key
               FROM github_connections t WHERE m.id = $1 AND t.id = $2";
    sqlx::query(sql).bind(&mine).bind(&theirs).execute(&mut test.psql().await).await.unwrap();
    let refused = token(&db, &mine).await.unwrap_err();
    assert!(matches!(&refused, DbError::Key(KeyError::Broken(place)) if place.contains(&mine)), "{refused}");
    assert_eq!(token(&db, &theirs).await.unwrap(), "ghp_canary");
}

#[tokio::test]
async fn kms__secrets_moved_to_and_from_local_key() {
    let (test, moto) = (TestDb::new().await, Moto::start().await);
    let aws = aws(moto.url().as_str()).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("keys");
    let local = Keyring::generate().unwrap().expose_secret().to_owned();
    let before = with_keys(&test, &aws, &local);
    let id = connect(&before).await;
    let keys = async |command: &str, lines: &str| {
        std::fs::write(&file, lines).unwrap();
        let mut command = panda(&["keys", command, "--database-url", test.url(), "--key-file"]);
        command.arg(&file).args(["--aws-endpoint", moto.url().as_str(), "--controller-region", "ap-northeast-2"]);
        command.env("AWS_ACCESS_KEY_ID", "AKIATESTCONTROLLER00").env("AWS_SECRET_ACCESS_KEY", "a-secret");
        run(&mut command).await
    };

    let kms = kms_line(moto.url()).await;
    let arn = kms.split_once(':').unwrap().1;
    let made = run(&mut panda(&["keys", "generate", "--kms", arn])).await;
    assert!(made.code == 0 && made.stdout.trim().ends_with(arn), "{made:?}");
    let refused = run(&mut panda(&["keys", "generate", "--kms", "alias/panda"])).await;
    assert!(refused.code == 2 && refused.stderr.contains("--kms") && refused.stderr.contains("arn:aws:kms:"));

    let moved = keys("rotate", &format!("{kms}\n{local}\n")).await;
    assert!(moved.code == 0 && moved.stdout.contains("1 rewrapped"), "{moved:?}");
    let only_kms = with_keys(&test, &aws, &kms);
    assert_eq!(token(&only_kms, &id).await.unwrap(), "ghp_canary");
    assert!(token(&before, &id).await.is_err(), "the previous key decrypts nothing any more");
    let checked = keys("check", &kms).await;
    assert!(checked.code == 0 && checked.stdout.contains("All 1 encrypted rows"), "{checked:?}");
    let (id_of_kms, gone) = (kms.split(':').next().unwrap(), format!("{arn}0"));
    let refused = keys("check", &format!("{local}\n{id_of_kms}:{gone}")).await;
    assert!(
        refused.code == 5 && refused.stdout.contains("cannot be used") && refused.stdout.contains(&id),
        "{refused:?}"
    );
    let refused = keys("check", &format!("{id_of_kms}2:{gone}\n{kms}")).await;
    assert!(
        refused.code == 5 && refused.stderr.contains("the first key of the key file cannot encrypt"),
        "{refused:?}"
    );

    let back = keys("rotate", &format!("{local}\n{kms}\n")).await;
    assert!(back.code == 0 && back.stdout.contains("1 rewrapped"), "{back:?}");
    assert_eq!(token(&before, &id).await.unwrap(), "ghp_canary");
}

#[tokio::test]
async fn kms__unknown_key_refused_at_start() {
    let (test, moto) = (TestDb::new().await, Moto::start().await);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("keys");
    let gone = format!("arn:aws:kms:{REGION}:123456789012:key/11111111-2222-3333-4444-555555555555");
    std::fs::write(&file, Keyring::name_kms(&gone).unwrap()).unwrap();
    let mut serve = panda(&["serve", "--listen", "127.0.0.1:0", "--database-url", test.url(), "--key-file"]);
    serve.arg(&file).args(["--aws-endpoint", moto.url().as_str(), "--controller-region", "ap-northeast-2"]);
    serve.env("AWS_ACCESS_KEY_ID", "AKIATESTCONTROLLER00").env("AWS_SECRET_ACCESS_KEY", "a-secret");
    let refused = run(&mut serve).await;
    assert_ne!(refused.code, 0);
    for part in ["kms:Encrypt", "NotFoundException", "--key-file"] {
        assert!(refused.stderr.contains(part), "{part}: {refused:?}");
    }
}

#[tokio::test]
async fn kms__unreachable_answers_503_with_retry_after() {
    let test = TestDb::new().await;
    let away = aws(UNREACHABLE).await;
    let line = format!("a:arn:aws:kms:{REGION}:123456789012:alias/panda");
    let db = with_keys(&test, &away, &line);
    let waits = db.check_keys().await.unwrap_err();
    assert!(matches!(waits, KeyError::Service { transient: true, .. }), "{waits}");
    let (github, _dir) = github().await;
    let api = Api::serve_with(&db, &ExternalServices::default().with_github(&github), &[]).await;
    let body = json!({"owner": "acme", "repo": "shop", "branch": "main", "token": TOKEN});
    let answer = api.post("/api/v1/connect/github", &body).await;
    answer.problem(503, "KEY_SERVICE_UNAVAILABLE");
    assert!(!answer.header("retry-after").is_empty() && !answer.text.contains(TOKEN));
    assert_eq!(count(&test, "github_connections").await, 0);
}
