//! Another filter on all replicas, for a while.

use nix::sys::signal::Signal;
use reqwest::{Client, Method};
use serde_json::{Value, json};

use super::{lines, said};
use crate::support::db::TestDb;
use crate::support::gate::Gate;
use crate::support::process::Serve;
use crate::support::wait_for;

const JSON: (&str, &str) = ("PANDA_LOG_FORMAT", "json");
const SET: &str = "the log filter was set";
const BACK: &str = "the log filter is the default again";

/// Asks `serve` about its log.
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

/// Whether a request to `serve` is told of, which is a line at `debug`.
async fn tells_of_requests(serve: &Serve) -> bool {
    let before = lines(serve).len();
    reqwest::get(format!("{}/healthz", serve.url)).await.unwrap();
    // The line is written before the answer is sent.
    lines(serve)[before..].iter().any(|line| line["message"] == "answered" && line["level"] == "DEBUG")
}

async fn says(serve: &Serve, message: &str) -> Value {
    wait_for(message, async || said(&lines(serve), message).cloned()).await
}

#[tokio::test]
async fn what_one_replica_is_told_rules_on_all_until_it_is_taken_back() {
    let db = TestDb::new().await;
    let (one, other) = (Serve::on(&db, &[], &[JSON]), Serve::on(&db, &[], &[JSON]));
    one.ready().await;
    other.ready().await;
    assert!(!tells_of_requests(&one).await && !tells_of_requests(&other).await);
    let own = "info,tokio_cron_scheduler=warn";
    assert_eq!(
        ask(&one, Method::GET, None).await,
        json!({"filter": own, "default": own, "until": null, "setBy": null, "setAt": null})
    );

    let told = set(&one, "info,panda=debug", 900).await;
    assert_eq!((&told["filter"], &told["default"]), (&json!("info,panda=debug"), &json!(own)));
    for serve in [&one, &other] {
        let line = says(serve, SET).await;
        assert_eq!((&line["level"], &line["by"], &line["filter"]), (&json!("INFO"), &told["setBy"], &told["filter"]));
        let (said, until) = (line["until"].as_str().unwrap(), told["until"].as_str().unwrap());
        assert_eq!(said.parse::<chrono::DateTime<chrono::Utc>>(), until.parse(), "{line}");
        assert!(tells_of_requests(serve).await);
        assert_eq!(ask(serve, Method::GET, None).await, told);
    }

    ask(&other, Method::DELETE, None).await;
    for serve in [&one, &other] {
        let line = says(serve, BACK).await;
        assert_eq!((&line["filter"], &line["was"]), (&json!(own), &told["filter"]));
        assert!(!tells_of_requests(serve).await);
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
async fn it_goes_back_by_itself_and_leaves_no_row() {
    let db = TestDb::new().await;
    let (one, other) = (Serve::on(&db, &[], &[JSON]), Serve::on(&db, &[], &[JSON]));
    one.ready().await;
    other.ready().await;
    set(&one, "debug", 900).await;
    says(&other, SET).await;
    // Whoever sets it again has it from then on.
    set(&one, "info,panda=trace", 1).await;
    for serve in [&one, &other] {
        says(serve, BACK).await;
        assert!(!tells_of_requests(serve).await);
    }
    let rows: i64 =
        sqlx::query_scalar("SELECT count(*) FROM log_filter").fetch_one(&mut db.psql().await).await.unwrap();
    assert_eq!(rows, 0);
    assert_eq!(ask(&other, Method::GET, None).await["until"], Value::Null);
}

#[tokio::test]
async fn it_survives_restarts_and_goes_back_though_the_database_is_away() {
    let db = TestDb::new().await;
    let mut first = Serve::on(&db, &[], &[JSON]);
    first.ready().await;
    set(&first, "info,panda=debug", 900).await;
    says(&first, SET).await;
    first.signal(Signal::SIGTERM);
    first.wait().await;

    let gate = Gate::before(&db, true).await;
    let database = format!("--database-url={}", gate.url(&db));
    let next = Serve::on(&db, &[&database, "--database-acquire-timeout-ms=500"], &[JSON]);
    says(&next, SET).await;
    assert!(tells_of_requests(&next).await);
    set(&next, "info,panda::http=debug", 3).await;
    wait_for("it is heeded", async || {
        lines(&next).iter().any(|line| line["message"] == SET && line["filter"] == "info,panda::http=debug")
    })
    .await;
    gate.set(false);
    says(&next, BACK).await;
    assert!(!tells_of_requests(&next).await);
}

#[tokio::test]
async fn a_filter_that_hides_much_hides_neither_itself_nor_its_end() {
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
async fn a_row_that_this_version_cannot_read_changes_nothing() {
    let db = TestDb::new().await;
    sqlx::query(
        "INSERT INTO log_filter (filter, set_by, until) VALUES ('panda==debug', 'somebody', now() + interval '1 hour')",
    )
    .execute(&mut db.psql().await)
    .await
    .unwrap();
    let serve = Serve::on(&db, &[], &[JSON]);
    let line = says(&serve, "the log filter that was set cannot be used here").await;
    assert!(line["reason"].as_str().unwrap().contains("target=level"), "{line}");
    assert!(!tells_of_requests(&serve).await);
}

#[tokio::test]
async fn a_rust_log_that_is_no_filter_is_told_of_and_the_default_rules() {
    let db = TestDb::new().await;
    let serve = Serve::on(&db, &[], &[JSON, ("RUST_LOG", "panda==debug")]);
    serve.ready().await;
    let line = says(&serve, "RUST_LOG is no filter, such as info,panda::reconcile=debug; the default rules").await;
    assert_eq!(line["filter"], panda::telemetry::SERVER_LOG);
    assert_eq!(ask(&serve, Method::GET, None).await["filter"], panda::telemetry::SERVER_LOG);
}
