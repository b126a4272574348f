//! Refusals take a bounded number of rows in the audit, however many requests are refused.

use futures_util::StreamExt as _;
use futures_util::stream::iter;
use panda::domain::principal::Role;
use pretty_assertions::assert_eq;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Token, serve};
use crate::http::{Answer, Api, ExternalServices, Fixture, count};
use crate::support::db::TestDb;
use crate::support::wait_for;

/// An API without rate limits, to send refusals as fast as possible.
async fn open(db: &TestDb) -> Api {
    let flags = ["--auth=required", "--rate-per-client=0", "--rate-per-token=0"];
    Api::serve_with(&db.db, &ExternalServices::default(), &flags).await
}

/// Number of refusal rows, and the number of refusals they count.
async fn refused(db: &TestDb) -> (i64, i64) {
    let sql = "SELECT count(*), coalesce(sum(times), 0) FROM audit WHERE result = 'refused'";
    sqlx::query_as(sql).fetch_one(&mut db.psql().await).await.unwrap()
}

#[tokio::test]
async fn refusals__repeats_counted_with_times() {
    let db = TestDb::new().await;
    let api = open(&db).await;
    let (viewer, admin) = (Token::of(&db.db, Role::Viewer).await, Token::of(&db.db, Role::Admin).await);
    let fixture = Fixture::begin(&db.db).await;
    let switch = format!("/api/v1/deploy/{}/switch", fixture.id());
    let one = async |_| viewer.post(&api, &switch, &json!({})).await.problem(403, "NOT_ALLOWED");
    iter(0..300).map(one).buffer_unordered(16).collect::<Vec<_>>().await;
    assert_eq!(refused(&db).await, (1, 1), "the first refusal is written immediately");
    // Shutdown closes the counting window.
    api.shutdown.cancel();
    wait_for("the others are counted", async || refused(&db).await == (2, 300)).await;

    let again = serve(&db.db).await;
    let page = admin.get(&again, &format!("/api/v1/audit?target={}", fixture.id())).await.data("감사 기록 조회 성공");
    let entries = page["entries"].as_array().unwrap();
    let shown: Vec<_> = entries.iter().map(|entry| (&entry["times"], &entry["errorCode"])).collect();
    assert_eq!(shown[..2], [(&json!(299), &json!("NOT_ALLOWED")), (&json!(1), &json!("NOT_ALLOWED"))]);
    assert_eq!((&entries[0]["repo"], &entries[0]["subject"]), (&json!("shop"), &json!("viewer-test")));
    let time = |value: &Value| value.as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>().unwrap();
    assert!(time(&entries[0]["firstAt"]) <= time(&entries[0]["at"]) && entries[1]["firstAt"].is_null());
    assert!(time(&entries[1]["at"]) <= time(&entries[0]["at"]));
}

#[tokio::test]
async fn refusals__rows_per_token_bounded() {
    let db = TestDb::new().await;
    let api = open(&db).await;
    let viewer = Token::of(&db.db, Role::Viewer).await;
    let ask = async |number: usize| {
        let (method, path) = match number % 5 {
            0 => (Method::POST, format!("/api/v1/deploy/dep_{number}/switch")),
            1 => (Method::POST, format!("/api/v1/deploy/dep_{number}/cancel")),
            2 => (Method::DELETE, format!("/api/v1/schedules/sch_{number}")),
            3 => (Method::DELETE, format!("/api/v1/connections/gh_{number}")),
            _ => (Method::POST, "/api/v1/deploy".to_owned()),
        };
        let answer = viewer.request(&api, method, &path).json(&json!({"number": number})).send().await.unwrap();
        assert_eq!(Answer::of(answer).await.status, 403);
    };
    iter(0..500).map(ask).buffer_unordered(16).collect::<Vec<_>>().await;
    api.shutdown.cancel();
    wait_for("all refusals are counted", async || refused(&db).await.1 == 500).await;
    let (rows, _) = refused(&db).await;
    assert!(rows <= 25, "{rows}");
}

#[tokio::test]
async fn refusals__anonymous_requests_write_nothing() {
    let db = TestDb::new().await;
    let api = open(&db).await;
    let document = serde_json::to_value(panda::http::document()).unwrap();
    let tables = ["audit", "sessions", "stream_tickets", "idempotency_keys", "deployments", "schedules", "api_tokens"];
    let rows = async || {
        let mut rows = Vec::new();
        for table in tables {
            rows.push(count(&db, table).await);
        }
        rows
    };
    let before = rows().await;
    for (path, item) in document["paths"].as_object().unwrap() {
        let path = path.replace("{id}", "dep_unknown").replace("{name}", "dora");
        for method in item.as_object().unwrap().keys() {
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            for credential in [None, Some("Bearer panda_x"), Some("Bearer a.b.c"), Some("Basic x")] {
                let mut request = api.request(method.clone(), &path).header("idempotency-key", "k").json(&json!({}));
                if let Some(credential) = credential {
                    request = request.header("authorization", credential);
                }
                let request = request.header("cookie", "panda_session=pandas_x").query(&[("ticket", "pandat_x")]);
                assert!(request.send().await.unwrap().status().as_u16() < 500, "{method} {path}");
            }
        }
    }
    api.shutdown.cancel();
    assert_eq!(rows().await, before);
}

#[tokio::test]
async fn sessions__rows_per_caller_bounded() {
    let db = TestDb::new().await;
    let api = open(&db).await;
    let (viewer, other) = (Token::of(&db.db, Role::Viewer).await, Token::of(&db.db, Role::Deployer).await);
    let session = async |token: &Token| token.post(&api, "/api/v1/session", &Value::Null).await;
    let mut refused = 0;
    for _ in 0..60 {
        let answer = session(&viewer).await;
        if answer.status == 429 {
            answer.problem(429, "TOO_MANY_SESSIONS");
            assert!(answer.header("retry-after").parse::<u64>().unwrap() <= 11);
            refused += 1;
        }
    }
    assert!(refused >= 25, "{refused}");
    assert!(count(&db, "sessions").await <= 35);
    assert_eq!(session(&other).await.status, 200, "another caller's");
}
