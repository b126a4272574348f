//! The temporary log filter at `/api/v1/log`.

use panda::domain::principal::Role;
use reqwest::Method;
use serde_json::{Value, json};

use super::auth::{self, Token};
use super::{Answer, Api};
use crate::support::db::TestDb;

const LOG: &str = "/api/v1/log";

async fn put(api: &Api, body: &Value) -> Answer {
    Answer::of(api.request(Method::PUT, LOG).json(body).send().await.unwrap()).await
}

#[tokio::test]
async fn log_api__defaults_to_fifteen_minutes() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    assert_eq!(api.get(LOG).await.data("로그 필터 조회 성공")["filter"], "info");
    let received =
        put(&api, &json!({"filter": "info,panda::reconcile=debug"})).await.data("로그 필터가 설정되었습니다.");
    let lasts: f64 = sqlx::query_scalar("SELECT extract(epoch FROM until - set_at)::float8 FROM log_filter")
        .fetch_one(&mut db.psql().await)
        .await
        .unwrap();
    assert!((lasts - 900.0).abs() < f64::EPSILON, "{lasts}");
    assert_eq!(api.get(LOG).await.data("로그 필터 조회 성공"), received);
}

#[tokio::test]
async fn log_api__expired_filter_absent_and_removed_when_read() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    put(&api, &json!({"filter": "debug", "forSeconds": 60})).await.data("로그 필터가 설정되었습니다.");
    let mut psql = db.psql().await;
    let over = "UPDATE log_filter SET set_at = now() - interval '2 minutes', until = now() - interval '1 second'";
    sqlx::query(over).execute(&mut psql).await.unwrap();
    let received = api.get(LOG).await.data("로그 필터 조회 성공");
    assert_eq!((&received["filter"], &received["setBy"]), (&json!("info"), &Value::Null));
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM log_filter").fetch_one(&mut psql).await.unwrap();
    assert_eq!(rows, 0);
}

#[tokio::test]
async fn log_api__invalid_fields_named() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let long = format!("info,{}", "a".repeat(1_000));
    for (body, field) in [
        (json!({}), "filter"),
        (json!({"filter": ""}), "filter"),
        (json!({"filter": long}), "filter"),
        (json!({"filter": "off"}), "filter"),
        (json!({"filter": "panda=loud"}), "filter"),
        (json!({"filter": "panda::reconcile=debug"}), "filter"),
        (json!({"filter": 1}), "filter"),
        (json!({"filter": "info", "forSeconds": 0}), "forSeconds"),
        (json!({"filter": "info", "forSeconds": 86_401}), "forSeconds"),
        (json!({"filter": "info", "forSeconds": -1}), "forSeconds"),
        (json!({"filter": "info", "for": 1}), "for"),
    ] {
        assert_eq!(put(&api, &body).await.refused_field("INVALID_FIELD"), field, "{body}");
    }
    let off = put(&api, &json!({"filter": "off"})).await.problem(400, "INVALID_FIELD");
    assert!(off["message"].as_str().unwrap().contains("begin with a level for all"), "{off}");
    let rows: i64 =
        sqlx::query_scalar("SELECT count(*) FROM log_filter").fetch_one(&mut db.psql().await).await.unwrap();
    assert_eq!(rows, 0);
}

#[tokio::test]
async fn log_api__only_unscoped_admin_changes_filter() {
    let db = TestDb::new().await;
    let api = auth::serve(&db.db).await;
    let body = json!({"filter": "debug"});
    let ask = async |token: &Token, method: Method| {
        Answer::of(token.request(&api, method, LOG).json(&body).send().await.unwrap()).await
    };
    for role in [Role::Viewer, Role::Deployer, Role::Approver] {
        let token = Token::of(&db.db, role).await;
        for method in [Method::GET, Method::PUT, Method::DELETE] {
            ask(&token, method).await.problem(403, "NOT_ALLOWED");
        }
    }
    let narrow = Token::scoped(&db.db, Role::Admin, &["acme/shop"]).await;
    for method in [Method::PUT, Method::DELETE] {
        ask(&narrow, method).await.problem(403, "OUT_OF_SCOPE");
    }
    assert_eq!(ask(&narrow, Method::GET).await.status, 200);
    let admin = Token::of(&db.db, Role::Admin).await;
    assert_eq!(ask(&admin, Method::PUT).await.status, 200);
    assert_eq!(ask(&admin, Method::GET).await.json()["data"]["setBy"], "admin-test");
    assert_eq!(ask(&admin, Method::DELETE).await.status, 200);
    let kept: Vec<(String, String, String)> =
        sqlx::query_as("SELECT action, subject, result FROM audit WHERE action LIKE 'log.%' ORDER BY id")
            .fetch_all(&mut db.psql().await)
            .await
            .unwrap();
    let refused = kept.iter().filter(|(_, _, result)| result == "refused").count();
    assert_eq!((refused, kept.len()), (8, 10), "{kept:#?}");
    let done = |action: &str| (action.to_owned(), "admin-test".to_owned(), "done".to_owned());
    assert_eq!(kept[8..], [done("log.set"), done("log.reset")]);
}
