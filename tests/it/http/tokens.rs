//! API tokens over the API, for admins of all repositories.

use panda::domain::principal::Role;
use pretty_assertions::assert_eq;
use reqwest::Method;
use serde_json::{Value, json};

use super::auth::{Token, serve};
use super::{Answer, count};
use crate::support::db::TestDb;
use crate::support::wait_for;

const PATH: &str = "/api/v1/tokens";
const CREATED: &str = "토큰이 생성되었습니다.";
const LISTED: &str = "토큰 목록 조회 성공";

#[tokio::test]
async fn tokens__secret_is_shown_once_and_works_until_revoked() {
    let db = TestDb::new().await;
    let api = serve(&db.db).await;
    let admin = Token::of(&db.db, Role::Admin).await;
    let body = json!({"name": "ci-shop", "role": "deployer", "repositories": ["Acme/Shop"], "expiresInDays": 30});
    let keyed = || admin.request(&api, Method::POST, PATH).header("idempotency-key", "k").json(&body);
    let made = Answer::of(keyed().send().await.unwrap()).await.data(CREATED);
    let (secret, token) = (made["secret"].as_str().unwrap(), &made["token"]);
    assert!(secret.starts_with("panda_") && secret.len() == 70);
    assert_eq!(
        (&token["name"], &token["role"], &token["repositories"]),
        (&json!("ci-shop"), &json!("deployer"), &json!(["acme/shop"]))
    );
    let days =
        token["expiresAt"].as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>().unwrap() - chrono::Utc::now();
    assert!((29..=30).contains(&days.num_days()), "{days}");
    // A repetition creates nothing, and neither the table nor the stored answer has the secret.
    let again = Answer::of(keyed().send().await.unwrap()).await.data(CREATED);
    assert_eq!(again, json!({"secret": null, "token": token}));
    assert_eq!(count(&db, "api_tokens").await, 2);
    let stored = "SELECT t::text FROM api_tokens t UNION ALL SELECT t::text FROM idempotency_keys t UNION ALL SELECT t::text FROM audit t";
    let rows: Vec<String> = sqlx::query_scalar(stored).fetch_all(&mut db.psql().await).await.unwrap();
    assert!(rows.len() == 5 && rows.iter().all(|row| !row.contains(&secret[6..])), "{rows:?}");
    let listed = admin.get(&api, PATH).await.data(LISTED);
    assert_eq!(listed["tokens"][0], *token, "newest first");
    assert_eq!((listed["tokens"].as_array().unwrap().len(), &listed["nextCursor"]), (2, &Value::Null));
    let first = admin.get(&api, &format!("{PATH}?limit=1")).await.data(LISTED);
    let rest =
        admin.get(&api, &format!("{PATH}?limit=1&cursor={}", first["nextCursor"].as_str().unwrap())).await.data(LISTED);
    assert_eq!((&rest["tokens"][0]["tokenId"], &rest["nextCursor"]), (&json!(admin.id), &Value::Null));

    let caller = api.signed_in(secret);
    assert_eq!(caller.get("/api/v1/deploy").await.status, 200);
    let path = format!("{PATH}/{}", token["tokenId"].as_str().unwrap());
    let revoked = Answer::of(admin.request(&api, Method::DELETE, &path).send().await.unwrap())
        .await
        .data("토큰이 취소되었습니다.");
    assert!(revoked["revokedAt"].is_string());
    let before = Answer::of(admin.request(&api, Method::DELETE, &path).send().await.unwrap())
        .await
        .data("토큰이 취소되었습니다.");
    assert_eq!(before, revoked, "it stays as it is");
    wait_for("the token is refused", async || caller.get("/api/v1/deploy").await.status == 401).await;
    let actions: Vec<(String, String)> =
        sqlx::query_as("SELECT action, subject FROM audit WHERE target = $1 ORDER BY id")
            .bind(token["tokenId"].as_str().unwrap())
            .fetch_all(&mut db.psql().await)
            .await
            .unwrap();
    let by = |action: &str| (action.to_owned(), "admin-test".to_owned());
    assert_eq!(actions, [by("token.create"), by("token.revoke")]);
}

#[tokio::test]
async fn tokens__only_for_admins_of_all_repositories() {
    let db = TestDb::new().await;
    let api = serve(&db.db).await;
    let body = json!({"name": "x", "role": "admin"});
    for role in [Role::Viewer, Role::Deployer, Role::Approver] {
        let token = Token::of(&db.db, role).await;
        token.get(&api, PATH).await.problem(403, "NOT_ALLOWED");
        token.post(&api, PATH, &body).await.problem(403, "NOT_ALLOWED");
    }
    let scoped = Token::scoped(&db.db, Role::Admin, &["acme/*"]).await;
    scoped.get(&api, PATH).await.problem(403, "OUT_OF_SCOPE");
    scoped.post(&api, PATH, &body).await.problem(403, "OUT_OF_SCOPE");
    let path = format!("{PATH}/{}", scoped.id);
    Answer::of(scoped.request(&api, Method::DELETE, &path).send().await.unwrap()).await.problem(403, "OUT_OF_SCOPE");
    let refused: i64 =
        sqlx::query_scalar("SELECT count(*) FROM audit WHERE action LIKE 'token.%' AND result = 'refused'")
            .fetch_one(&mut db.psql().await)
            .await
            .unwrap();
    assert_eq!(refused, 5, "refusals are audited");
}

#[tokio::test]
async fn tokens__invalid_fields_named() {
    let db = TestDb::new().await;
    let api = serve(&db.db).await;
    let admin = Token::of(&db.db, Role::Admin).await;
    for (body, field) in [
        (json!({"role": "viewer"}), "name"),
        (json!({"name": "a b", "role": "viewer"}), "name"),
        (json!({"name": "schedule:x", "role": "viewer"}), "name"),
        (json!({"name": "x", "role": "root"}), "role"),
        (json!({"name": "x", "role": "viewer", "repositories": []}), "repositories"),
        (json!({"name": "x", "role": "viewer", "repositories": ["acme"]}), "repositories"),
        (json!({"name": "x", "role": "viewer", "expiresInDays": 0}), "expiresInDays"),
        (json!({"name": "x", "role": "viewer", "expiresInDays": 4000}), "expiresInDays"),
        (json!({"name": "x", "role": "viewer", "secret": "mine"}), "secret"),
    ] {
        assert_eq!(admin.post(&api, PATH, &body).await.refused_field("INVALID_FIELD"), field, "{body}");
    }
    for id in ["tok_none", "x y", "%00"] {
        let request = admin.request(&api, Method::DELETE, &format!("{PATH}/{id}"));
        Answer::of(request.send().await.unwrap()).await.problem(404, "TOKEN_NOT_FOUND");
    }
    assert_eq!(count(&db, "api_tokens").await, 1);
}
