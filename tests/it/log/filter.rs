//! A temporary log filter on all replicas.

use nix::sys::signal::Signal;
use reqwest::{Client, Method};
use serde_json::{Value, json};

use super::{lines, said};
use crate::support::db::TestDb;
use crate::support::postgres_proxy::PostgresProxy;
use crate::support::process::Serve;
use crate::support::wait_for;

const JSON: (&str, &str) = ("PANDA_LOG_FORMAT", "json");
const SET: &str = "log filter set";
const BACK: &str = "log filter restored to the default";

/// Calls the log endpoint of `serve`.
async fn ask(serve: &Serve, method: Method, body: Option<Value>) -> Value {
    let request = Client::new().request(method, format!("{}/api/v1/log", serve.url));
    let request = match body {
        Some(body) => request.json(&body),
        None => request,
    };
    let answer: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(answer["code"], 200, "{answer}");
    answer["data"].clone()
}

async fn set(serve: &Serve, filter: &str, seconds: u64) -> Value {
    ask(serve, Method::PUT, Some(json!({"filter": filter, "forSeconds": seconds}))).await
}

/// Sends a request to `serve` and checks that it is logged, which happens at `debug`.
async fn logs_requests(serve: &Serve) -> bool {
    let before = lines(serve).len();
    reqwest::get(format!("{}/healthz", serve.url)).await.unwrap();
    // The line is written before the answer is sent.
    lines(serve)[before..].iter().any(|line| line["message"] == "request answered" && line["level"] == "DEBUG")
}

async fn says(serve: &Serve, message: &str) -> Value {
    wait_for(message, async || said(&lines(serve), message).cloned()).await
}

#[tokio::test]
async fn log_filter__applies_to_all_replicas_until_reset() {
    let db = TestDb::new().await;
    let (one, other) = (Serve::on(&db, &[], &[JSON]), Serve::on(&db, &[], &[JSON]));
    one.ready().await;
    other.ready().await;
    assert!(!logs_requests(&one).await && !logs_requests(&other).await);
    let own = "info,tokio_cron_scheduler=warn";
    assert_eq!(
        ask(&one, Method::GET, None).await,
        json!({"filter": own, "default": own, "until": null, "setBy": null, "setAt": null})
    );

    let received = set(&one, "info,panda=debug", 900).await;
    assert_eq!((&received["filter"], &received["default"]), (&json!("info,panda=debug"), &json!(own)));
    for serve in [&one, &other] {
        let line = says(serve, SET).await;
        assert_eq!(
            (&line["level"], &line["by"], &line["filter"]),
            (&json!("INFO"), &received["setBy"], &received["filter"])
        );
        let (said, until) = (line["until"].as_str().unwrap(), received["until"].as_str().unwrap());
        let millis = |text: &str| text.parse::<chrono::DateTime<chrono::Utc>>().unwrap().timestamp_millis();
        assert_eq!(millis(said), millis(until), "{line}");
        assert!(logs_requests(serve).await);
        assert_eq!(ask(serve, Method::GET, None).await, received);
    }

    ask(&other, Method::DELETE, None).await;
    for serve in [&one, &other] {
        let line = says(serve, BACK).await;
        assert_eq!((&line["filter"], &line["was"]), (&json!(own), &received["filter"]));
        assert!(!logs_requests(serve).await);
    }
    let actions: Vec<(String, String, Value)> = sqlx::query_as("SELECT action, result, details FROM audit ORDER BY id")
        .fetch_all(&mut db.psql().await)
        .await
        .unwrap();
    let details = json!({"filter": "info,panda=debug", "forSeconds": 900});
    let done = |action: &str, details: Value| (action.to_owned(), "done".to_owned(), details);
    assert_eq!(actions, [done("log.set", details), done("log.reset", json!({}))]);
}

#[tokio::test]
async fn log_filter__expires_and_leaves_no_row() {
    let db = TestDb::new().await;
    let (one, other) = (Serve::on(&db, &[], &[JSON]), Serve::on(&db, &[], &[JSON]));
    one.ready().await;
    other.ready().await;
    set(&one, "debug", 900).await;
    says(&other, SET).await;
    // The last setting replaces filter, author and end.
    set(&one, "info,panda=trace", 1).await;
    for serve in [&one, &other] {
        says(serve, BACK).await;
        assert!(!logs_requests(serve).await);
    }
    let rows: i64 =
        sqlx::query_scalar("SELECT count(*) FROM log_filter").fetch_one(&mut db.psql().await).await.unwrap();
    assert_eq!(rows, 0);
    assert_eq!(ask(&other, Method::GET, None).await["until"], Value::Null);
}

#[tokio::test]
async fn log_filter__survives_restart_and_expires_without_database() {
    let db = TestDb::new().await;
    let mut first = Serve::on(&db, &[], &[JSON]);
    first.ready().await;
    set(&first, "info,panda=debug", 900).await;
    says(&first, SET).await;
    first.signal(Signal::SIGTERM);
    first.wait().await;

    let proxy = PostgresProxy::before(&db, true).await;
    let database = format!("--database-url={}", proxy.url(&db));
    let next = Serve::on(&db, &[&database, "--database-acquire-timeout-ms=500"], &[JSON]);
    says(&next, SET).await;
    assert!(logs_requests(&next).await);
    set(&next, "info,panda::http=debug", 3).await;
    wait_for("the change is applied", async || {
        lines(&next).iter().any(|line| line["message"] == SET && line["filter"] == "info,panda::http=debug")
    })
    .await;
    proxy.set(false);
    says(&next, BACK).await;
    assert!(!logs_requests(&next).await);
}

#[tokio::test]
async fn log_filter__own_changes_always_logged() {
    let db = TestDb::new().await;
    let serve = Serve::on(&db, &[], &[JSON, ("RUST_LOG", "warn")]);
    serve.ready().await;
    set(&serve, "error", 2).await;
    assert_eq!(says(&serve, SET).await["filter"], "error");
    assert_eq!(says(&serve, BACK).await["filter"], "warn");
    let others: Vec<_> = lines(&serve).into_iter().filter(|line| line["target"] != "panda::log").collect();
    assert!(others.iter().all(|line| line["level"] == "WARN" || line["level"] == "ERROR"), "{others:#?}");
}

#[tokio::test]
async fn log_filter__unreadable_row_ignored() {
    let db = TestDb::new().await;
    sqlx::query(
        "INSERT INTO log_filter (filter, set_by, until) VALUES ('panda==debug', 'somebody', now() + interval '1 hour')",
    )
    .execute(&mut db.psql().await)
    .await
    .unwrap();
    let serve = Serve::on(&db, &[], &[JSON]);
    let line = says(&serve, "log filter set by an admin cannot be applied").await;
    assert!(line["reason"].as_str().unwrap().contains("target=level"), "{line}");
    assert!(!logs_requests(&serve).await);
}

#[tokio::test]
async fn log_filter__invalid_rust_log_reported_and_default_used() {
    let db = TestDb::new().await;
    let serve = Serve::on(&db, &[], &[JSON, ("RUST_LOG", "panda==debug")]);
    serve.ready().await;
    let line =
        says(&serve, "RUST_LOG is not a valid filter (example: info,panda::reconcile=debug), using the default").await;
    assert_eq!(line["filter"], panda::telemetry::SERVER_LOG);
    assert_eq!(ask(&serve, Method::GET, None).await["filter"], panda::telemetry::SERVER_LOG);
}
