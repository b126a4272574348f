//! Secrets at rest are encrypted with a key that the database does not have.

use std::sync::Arc;
use std::time::Duration;

use panda::db::idempotency::{IdempotencyKey, KeyState};
use panda::db::{Db, DbError};
use panda::domain::connection::{AwsConnection, AwsCredentials, AwsKeys};
use panda::domain::keyring::{KeyError, Keyring};
use panda::domain::{Caller, ids};
use pretty_assertions::assert_eq;
use secrecy::{ExposeSecret, SecretString};
use sqlx::{Executor, Row};

use crate::http::fixture::github_connection_with;
use crate::support::db::{TestDb, open_with};

const SECRETS: [&str; 4] = ["ghp_canary_token", "canary_secret_key", "canary_session", "canary_external"];

/// The same database with other keys.
pub fn with_keys(test: &TestDb, lines: &[&SecretString]) -> Db {
    let lines: Vec<&str> = lines.iter().map(|line| line.expose_secret()).collect();
    let keyring =
        Keyring::parse(&SecretString::from(lines.join("\n")), &|arn| panic!("{arn} is not asked for")).unwrap();
    open_with(test.url(), 3, Duration::from_secs(10), Some(Arc::new(keyring)))
}

/// Creates a connection of each kind: `gh_…`, `aws_…` with keys, `aws_…` with a role.
pub async fn connect(db: &Db) -> [String; 3] {
    let [token, secret, session, external] = SECRETS.map(SecretString::from);
    let github = github_connection_with(db, "acme", "shop", token).await;
    let aws = |credentials| AwsConnection {
        id: ids::aws_connection_id(),
        region: "ap-northeast-2".into(),
        account_id: "111122223333".into(),
        credentials,
        rule_target_role_arn: None,
    };
    let keys = AwsKeys { access_key_id: "AKIA".into(), secret_access_key: secret, session_token: Some(session) };
    let keys = aws(AwsCredentials::Keys(keys));
    let role = aws(AwsCredentials::Role { role_arn: "arn:aws:iam::1:role/x".into(), external_id: external });
    db.insert_aws_connection(&keys).await.unwrap();
    db.insert_aws_connection(&role).await.unwrap();
    [github, keys.id, role.id]
}

/// The decrypted secrets of all three, as a deployment reads them.
async fn secrets(db: &Db, [github, keys, role]: &[String; 3]) -> Result<[String; 4], DbError> {
    let github = db.github_connection(github).await?.unwrap();
    let AwsCredentials::Keys(keys) = db.aws_connection(keys).await?.unwrap().credentials else { panic!() };
    let AwsCredentials::Role { external_id, .. } = db.aws_connection(role).await?.unwrap().credentials else {
        panic!()
    };
    let all = [github.token, keys.secret_access_key, keys.session_token.unwrap(), external_id];
    Ok(all.map(|secret| secret.expose_secret().to_owned()))
}

/// All contents of both tables, as text.
async fn tables(test: &TestDb) -> String {
    let sql = "SELECT (SELECT string_agg(encode(convert_to(g::text, 'UTF8'), 'escape'), ' ') FROM github_connections g)
                   || (SELECT string_agg(encode(convert_to(a::text, 'UTF8'), 'escape'), ' ') FROM aws_connections a)
                   || (SELECT string_agg(encode(token_encrypted, 'escape'), ' ') FROM github_connections)";
    sqlx::query(sql).fetch_one(&mut test.psql().await).await.unwrap().get(0)
}

#[tokio::test]
async fn encryption__no_plaintext_in_tables() {
    let test = TestDb::new().await;
    let ids = connect(&test.db).await;
    let tables = tables(&test).await;
    assert!(tables.contains("acme"), "{tables}");
    for secret in SECRETS {
        assert!(!tables.contains(secret) && !tables.contains(&hex::encode(secret)), "{secret} in {tables}");
    }
    assert_eq!(secrets(&test.db, &ids).await.unwrap(), SECRETS);
}

#[tokio::test]
async fn encryption__keys_rotated_while_in_use() {
    let test = TestDb::new().await;
    let (old, new) = (Keyring::generate().unwrap(), Keyring::generate().unwrap());
    let before = with_keys(&test, &[&old]);
    let ids = connect(&before).await;
    let both = with_keys(&test, &[&new, &old]);
    assert_eq!(secrets(&both, &ids).await.unwrap(), SECRETS);
    let only_new = with_keys(&test, &[&new]);
    let refused = secrets(&only_new, &ids).await.unwrap_err();
    assert!(matches!(refused, DbError::Key(KeyError::Unknown { .. })), "{refused}");
    assert_eq!(both.rewrap_keys().await.unwrap(), 3);
    assert_eq!(both.rewrap_keys().await.unwrap(), 0, "a second run changes nothing");
    assert_eq!(secrets(&only_new, &ids).await.unwrap(), SECRETS);
    assert!(secrets(&before, &ids).await.is_err(), "the old key decrypts nothing any more");
}

#[tokio::test]
async fn encryption__installation_secret_rotated() {
    let test = TestDb::new().await;
    let (old, new) = (Keyring::generate().unwrap(), Keyring::generate().unwrap());
    let key = IdempotencyKey { scope: "POST /x".into(), key: "k".into(), request_hash: vec![7; 32] };
    assert_eq!(with_keys(&test, &[&old]).stored_answer(&key).await.unwrap(), KeyState::Unused);
    let both = with_keys(&test, &[&new, &old]);
    assert_eq!(both.stored_answer(&key).await.unwrap(), KeyState::Unused);
    let refused = with_keys(&test, &[&new]).stored_answer(&key).await.unwrap_err();
    assert!(matches!(refused, DbError::Key(KeyError::Unknown { .. })), "{refused}");
    assert_eq!(both.rewrap_keys().await.unwrap(), 1);
    assert_eq!(both.rewrap_keys().await.unwrap(), 0);
    assert_eq!(with_keys(&test, &[&new]).stored_answer(&key).await.unwrap(), KeyState::Unused);
}

#[tokio::test]
async fn encryption__moved_ciphertext_does_not_decrypt() {
    let test = TestDb::new().await;
    let [mine, ..] = connect(&test.db).await;
    let [theirs, ..] = connect(&test.db).await;
    let sql = "UPDATE github_connections m SET token_encrypted = t.token_encrypted, wrapped_key = t.wrapped_key
               FROM github_connections t WHERE m.id = $1 AND t.id = $2";
    sqlx::query(sql).bind(&mine).bind(&theirs).execute(&mut test.psql().await).await.unwrap();
    let refused = test.db.github_connection(&mine).await.unwrap_err();
    assert!(matches!(refused, DbError::Key(KeyError::Broken(_))), "{refused}");
    assert!(!refused.to_string().contains("canary") && refused.to_string().contains(&mine));
    let both = test.db.github_connections_of(&[mine, theirs]).await.unwrap();
    assert_eq!(both.iter().filter(|one| one.is_ok()).count(), 1, "a broken secret does not block the others");
}

#[tokio::test]
async fn encryption__build_secret_bound_to_name_and_survives_rotation() {
    let test = TestDb::new().await;
    let (old, new) = (Keyring::generate().unwrap(), Keyring::generate().unwrap());
    let db = with_keys(&test, &[&old]);
    let [github, ..] = connect(&db).await;
    for (name, value) in [("one", "canary_first_value"), ("two", "canary_second_value")] {
        panda::commands::build_secrets::set_build_secret(
            &db,
            &github,
            name,
            &SecretString::from(value),
            &Caller::local(),
        )
        .await
        .unwrap();
    }
    let stored: Vec<Vec<u8>> = sqlx::query_scalar("SELECT value_encrypted FROM github_build_secrets")
        .fetch_all(&mut test.psql().await)
        .await
        .unwrap();
    assert!(stored.iter().all(|sealed| !sealed.windows(6).any(|bytes| bytes == b"canary")));

    assert!(with_keys(&test, &[&new, &old]).rewrap_keys().await.unwrap() > 0);
    let db = with_keys(&test, &[&new]);
    let loaded = db.github_connection(&github).await.unwrap().unwrap().build_secrets;
    let values: Vec<(&str, &str)> = loaded.iter().map(|(name, value)| (name.as_str(), value.expose_secret())).collect();
    assert_eq!(values, [("one", "canary_first_value"), ("two", "canary_second_value")]);

    let swap = "UPDATE github_build_secrets a SET value_encrypted = b.value_encrypted FROM github_build_secrets b WHERE a.name <> b.name";
    test.psql().await.execute(swap).await.unwrap();
    assert!(matches!(db.github_connection(&github).await, Err(DbError::Key(_))), "a moved value does not decrypt");
}
