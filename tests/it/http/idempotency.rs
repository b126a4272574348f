//! `Idempotency-Key` on every POST that changes something: the first answer again, and one effect.

use reqwest::Method;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::{Answer, Api, Outside, Story, count, outside};
use crate::support::db::TestDb;

async fn post(api: &Api, path: &str, key: &str, body: &Value) -> Answer {
    let request = api.request(Method::POST, path).header("idempotency-key", key).json(body);
    Answer::of(request.send().await.unwrap()).await
}

/// The answer of the first, again; another body is refused, and so is a key that is too long.
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
async fn connecting_twice_with_one_key_makes_one_connection() {
    let db = TestDb::new().await;
    let ((github, _root), sandbox) = (outside::github().await, outside::sandbox().await);
    let there = Outside::default().with_github(&github).with_aws(&sandbox);
    let api = Api::serve_with(&db.db, &there, &[]).await;
    // This one reaches nobody outside: a repeat is answered without asking.
    let alone = Api::serve(&db.db).await;
    let body = json!({"owner": "acme", "repo": "shop", "branch": "main", "token": outside::TOKEN});
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
async fn a_wish_with_a_key_is_answered_the_same_even_when_it_was_fulfilled_meanwhile() {
    let db = TestDb::new().await;
    let (api, other) = (Api::serve(&db.db).await, Api::serve(&db.db).await);
    let mut story = Story::begin_of(&db.db, "acme", "shop").await;
    story.ready().await;
    let switch = format!("/api/v1/deploy/{}/switch", story.id());
    let first = holds(&api, &other, &switch, &json!({}), &json!({"why": "other"})).await;
    story.claim_again().await;
    story.complete().await;
    assert_eq!(post(&api, &switch, "key", &json!({})).await.text, first.text);
    post(&api, &switch, "new", &json!({})).await.problem(409, "ALREADY_SWITCHED");

    let mut story = Story::begin_of(&db.db, "acme", "other").await;
    let cancel = format!("/api/v1/deploy/{}/cancel", story.id());
    let first = holds(&api, &other, &cancel, &json!({}), &json!({"why": "other"})).await;
    story.fail().await;
    assert_eq!(post(&api, &cancel, "key", &json!({})).await.text, first.text);
}

#[tokio::test]
async fn a_refused_wish_does_not_use_its_key_up() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut story = Story::begin(&db.db).await;
    let switch = format!("/api/v1/deploy/{}/switch", story.id());
    post(&api, &switch, "key", &json!({})).await.problem(409, "SWITCH_NOT_READY");
    story.ready().await;
    assert_eq!(post(&api, &switch, "key", &json!({})).await.status, 200);
}

#[tokio::test]
async fn a_key_is_forgotten_after_a_day_and_removed_by_housekeeping() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let story = Story::begin(&db.db).await;
    let cancel = format!("/api/v1/deploy/{}/cancel", story.id());
    post(&api, &cancel, "key", &json!({})).await;
    let age = "UPDATE idempotency_keys SET created_at = now() - interval '25 hours'";
    sqlx::query(age).execute(&mut db.psql().await).await.unwrap();
    assert_eq!(post(&api, &cancel, "key", &json!({"why": "another body"})).await.status, 200, "as good as new");
    assert_eq!(db.db.forget_old_keys().await.unwrap(), 0, "it is young again");
    let many = "INSERT INTO idempotency_keys (scope, key, request_hash, response, created_at)
                SELECT 's', n::text, '', 'null', now() - interval '25 hours' FROM generate_series(1, 2500) n";
    sqlx::query(many).execute(&mut db.psql().await).await.unwrap();
    assert_eq!(db.db.forget_old_keys().await.unwrap(), 2_500);
    assert_eq!(count(&db, "idempotency_keys").await, 1);
}
