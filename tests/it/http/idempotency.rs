//! `Idempotency-Key` on every POST that changes something: the first answer is replayed, and there is one effect.

use reqwest::Method;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Answer, Api, ExternalServices, Fixture, count, external_services};
use crate::support::db::TestDb;

async fn post(api: &Api, path: &str, key: &str, body: &Value) -> Answer {
    let request = api.request(Method::POST, path).header("idempotency-key", key).json(body);
    Answer::of(request.send().await.unwrap()).await
}

/// Asserts that the first answer is replayed, and that another body and a key that is too long are refused.
async fn holds(api: &Api, other_process: &Api, path: &str, body: &Value, other: &Value) -> Answer {
    let first = post(api, path, "key", body).await;
    assert_eq!(first.status, 200, "{}", first.text);
    assert_eq!(post(api, path, "key", body).await.text, first.text);
    assert_eq!(post(other_process, path, "key", body).await.text, first.text, "kept in the database, not in a process");
    post(api, path, "key", other).await.problem(422, "IDEMPOTENCY_KEY_REUSED");
    assert_eq!(post(api, path, &"k".repeat(256), body).await.refused_field("INVALID_FIELD"), "Idempotency-Key");
    first
}

#[tokio::test]
async fn idempotency__connect_twice_makes_one_connection() {
    let db = TestDb::new().await;
    let ((github, _root), sandbox) = (external_services::github().await, external_services::sandbox().await);
    let there = ExternalServices::default().with_github(&github).with_aws(&sandbox);
    let api = Api::serve_with(&db.db, &there, &[]).await;
    // This server reaches no external service: a repeat is answered without calling any.
    let alone = Api::serve(&db.db).await;
    let body = json!({"owner": "acme", "repo": "shop", "branch": "main", "token": external_services::TOKEN});
    let mut other = body.clone();
    other["token"] = json!("ghp_another_token");
    holds(&api, &alone, "/api/v1/connect/github", &body, &other).await;
    assert_eq!(count(&db, "github_connections").await, 1);

    let keys = sandbox.user_credentials();
    let secret = keys.secret_access_key.expose_secret();
    let body = json!({"region": sandbox.region(), "accessKeyId": keys.access_key_id, "secretAccessKey": secret});
    let mut other = body.clone();
    other["secretAccessKey"] = json!("another-secret");
    holds(&api, &alone, "/api/v1/connect/aws", &body, &other).await;
    assert_eq!(count(&db, "aws_connections").await, 1);
}

#[tokio::test]
async fn idempotency__same_answer_after_command_took_effect() {
    let db = TestDb::new().await;
    let (api, other) = (Api::serve(&db.db).await, Api::serve(&db.db).await);
    let mut fixture = Fixture::begin_of(&db.db, "acme", "shop").await;
    fixture.ready().await;
    let switch = format!("/api/v1/deploy/{}/switch", fixture.id());
    let first = holds(&api, &other, &switch, &json!({}), &json!({"why": "other"})).await;
    fixture.claim_again().await;
    fixture.complete().await;
    assert_eq!(post(&api, &switch, "key", &json!({})).await.text, first.text);
    post(&api, &switch, "new", &json!({})).await.problem(409, "ALREADY_SWITCHED");

    let mut fixture = Fixture::begin_of(&db.db, "acme", "other").await;
    let cancel = format!("/api/v1/deploy/{}/cancel", fixture.id());
    let first = holds(&api, &other, &cancel, &json!({}), &json!({"why": "other"})).await;
    fixture.fail().await;
    assert_eq!(post(&api, &cancel, "key", &json!({})).await.text, first.text);
}

#[tokio::test]
async fn idempotency__refused_command_leaves_key_unused() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut fixture = Fixture::begin(&db.db).await;
    let switch = format!("/api/v1/deploy/{}/switch", fixture.id());
    post(&api, &switch, "key", &json!({})).await.problem(409, "SWITCH_NOT_READY");
    fixture.ready().await;
    assert_eq!(post(&api, &switch, "key", &json!({})).await.status, 200);
}

#[tokio::test]
async fn idempotency__key_expires_after_a_day() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let fixture = Fixture::begin(&db.db).await;
    let cancel = format!("/api/v1/deploy/{}/cancel", fixture.id());
    post(&api, &cancel, "key", &json!({})).await;
    let age = "UPDATE idempotency_keys SET created_at = now() - interval '25 hours'";
    sqlx::query(age).execute(&mut db.psql().await).await.unwrap();
    assert_eq!(post(&api, &cancel, "key", &json!({"why": "another body"})).await.status, 200, "the key is new again");
    assert_eq!(db.db.delete_expired_keys().await.unwrap(), 0, "its age starts again");
    let many = "INSERT INTO idempotency_keys (scope, key, request_hash, response, created_at)
                SELECT 's', n::text, '', 'null', now() - interval '25 hours' FROM generate_series(1, 2500) n";
    sqlx::query(many).execute(&mut db.psql().await).await.unwrap();
    assert_eq!(db.db.delete_expired_keys().await.unwrap(), 2_500);
    assert_eq!(count(&db, "idempotency_keys").await, 1);
}

async fn stored_hash(db: &TestDb) -> Vec<u8> {
    let hash = "SELECT request_hash FROM idempotency_keys WHERE key = 'key'";
    sqlx::query_scalar(hash).fetch_one(&mut db.psql().await).await.unwrap()
}

async fn run(db: &TestDb, sql: &'static str) {
    sqlx::raw_sql(sql).execute(&mut db.psql().await).await.unwrap();
}

/// Canonical form of an empty body, equal to that of no body.
const MEANING: &str = "null";

#[tokio::test]
async fn idempotency__stored_hash_confirms_no_guess() {
    let guess = Sha256::digest(MEANING).to_vec();
    let mut keyed = Vec::new();
    for _ in 0..2 {
        let db = TestDb::new().await;
        let (api, fixture) = (Api::serve(&db.db).await, Fixture::begin(&db.db).await);
        let cancel = format!("/api/v1/deploy/{}/cancel", fixture.id());
        let first = post(&api, &cancel, "key", &json!({})).await;
        assert_eq!(first.status, 200, "{}", first.text);
        keyed.push(stored_hash(&db).await);
        assert_eq!(post(&api, &cancel, "key", &json!({})).await.text, first.text);
    }
    assert!(!keyed.contains(&guess) && keyed[0] != keyed[1], "each installation has its own secret");
}

#[tokio::test]
async fn idempotency__concurrent_replicas_share_one_secret() {
    let db = TestDb::new().await;
    // As after an operator removed the row.
    run(&db, "DELETE FROM installation").await;
    let (one, other) = (Api::serve(&db.db).await, Api::serve(&db.again()).await);
    let fixture = Fixture::begin(&db.db).await;
    let cancel = format!("/api/v1/deploy/{}/cancel", fixture.id());
    let body = json!({});
    let answers = tokio::join!(post(&one, &cancel, "a", &body), post(&other, &cancel, "b", &body));
    assert_eq!((answers.0.status, answers.1.status), (200, 200));
    assert_eq!(post(&other, &cancel, "a", &body).await.text, answers.0.text);
    assert_eq!(post(&one, &cancel, "b", &body).await.text, answers.1.text);
    let secret = "SELECT encode(request_secret_encrypted, 'escape') FROM installation";
    let sealed: Vec<String> = sqlx::query_scalar(secret).fetch_all(&mut db.psql().await).await.unwrap();
    assert_eq!(sealed.len(), 1, "{sealed:?}");
}
