//! Requests while the database has no schema, an older one, or one whose migration fails: 503 with Retry-After, and never on a stream.

use panda::db::schema::known;
use reqwest::{Client, Method};
use serde_json::json;
use sqlx::Executor;
use sqlx::migrate::Migrator;

use super::{Answer, Api, Reader};
use crate::support::db::TestDb;
use crate::support::process::Serve;
use crate::support::wait_for;

static ALL: Migrator = sqlx::migrate!();

const STREAMS: [&str; 2] = ["/api/v1/events", "/api/v1/deploy/{id}/events"];

/// All operations of the API below `/api/v1`, with a value for each path parameter.
fn operations() -> Vec<(Method, String)> {
    let document = serde_json::to_value(panda::http::document()).unwrap();
    let paths = document["paths"].as_object().unwrap();
    let of = |(path, methods): (&String, &serde_json::Value)| {
        let path = path.replace("{name}", "dora").replace("{id}", "dep_4k1zq0v7w3m9x2c8b5n6");
        let methods = methods.as_object().unwrap().keys().filter_map(|name| name.to_uppercase().parse().ok());
        methods.map(|method: Method| (method, path.clone())).collect::<Vec<_>>()
    };
    let all: Vec<_> = paths.iter().filter(|(path, _)| path.starts_with("/api/v1/")).flat_map(of).collect();
    assert!(all.len() > 30, "{all:?}");
    all
}

fn is_stream(method: &Method, path: &str) -> bool {
    method == Method::GET && STREAMS.iter().any(|stream| stream.replace("{id}", "dep_4k1zq0v7w3m9x2c8b5n6") == path)
}

/// Asserts that each operation answers 503 with Retry-After and the reason, and that streams are opened and held.
async fn everything_waits(base: &str, reason: &str) {
    let client = Client::new();
    for (method, path) in operations() {
        let url = format!("{base}{path}");
        if is_stream(&method, &path) {
            let mut held = Reader::open(client.get(url)).await;
            assert_eq!(held.status, 200, "{path}");
            assert!(held.comment().await.contains("the database is unavailable"));
            continue;
        }
        let request = client.request(method.clone(), url);
        let request = if method == Method::GET { request } else { request.json(&json!({})) };
        let answer = Answer::of(request.send().await.unwrap()).await;
        let detail = answer.problem(503, "DATABASE_UNAVAILABLE")["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(reason), "{method} {path}: {detail}");
        assert!(!answer.header("retry-after").is_empty(), "{method} {path}");
    }
    let ready = Answer::of(client.get(format!("{base}/readyz")).send().await.unwrap()).await;
    let detail = ready.problem(503, "NOT_READY")["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains(reason), "{detail}");
    assert_eq!(client.get(format!("{base}/healthz")).send().await.unwrap().status(), 200);
}

async fn waits_for(server: &Serve, reason: &str) {
    wait_for(reason, async || {
        let answer = reqwest::get(format!("{}/readyz", server.url)).await.ok()?;
        answer.text().await.unwrap().contains(reason).then_some(())
    })
    .await;
}

#[tokio::test]
async fn unmigrated__requests_wait_for_first_migration() {
    let test = TestDb::empty("").await;
    // The first statement of a migration waits for this transaction on every retry.
    let mut holding = test.psql().await;
    holding.execute("BEGIN; CREATE TABLE _sqlx_migrations (x int)").await.unwrap();
    let server = Serve::on(&test, &["--migrate=true"], &[]);
    waits_for(&server, "the schema is being migrated").await;
    everything_waits(&server.url, "the schema is being migrated").await;
    let mut held = Reader::open(Client::new().get(format!("{}/api/v1/events", server.url))).await;
    holding.execute("ROLLBACK").await.unwrap();
    server.ready().await;
    assert_eq!(held.rest().await, [], "it ends, so that its reader reconnects");
    assert_eq!(reqwest::get(format!("{}/api/v1/deploy", server.url)).await.unwrap().status(), 200);
}

#[tokio::test]
async fn unmigrated__requests_wait_for_outdated_schema() {
    for version in [0, known() - 1] {
        let test = TestDb::empty("").await;
        if version > 0 {
            ALL.run_to(version, &mut test.psql().await).await.unwrap();
        }
        let server = Serve::on(&test, &["--migrate=false"], &[]);
        waits_for(&server, "the schema is older than this version").await;
        everything_waits(&server.url, "panda migrate").await;
        test.owner().migrate().await.unwrap();
        server.ready().await;
    }
}

#[tokio::test]
async fn unmigrated__failed_migration_reported_to_requests() {
    let test = TestDb::empty("").await;
    let mut psql = test.psql().await;
    ALL.run_to(1, &mut psql).await.unwrap();
    psql.execute("CREATE VIEW history_dora AS SELECT 1 AS one").await.unwrap();
    let server = Serve::on(&test, &["--migrate=true"], &[]);
    waits_for(&server, "the schema cannot be migrated").await;
    everything_waits(&server.url, "schema").await;
    psql.execute("DROP VIEW history_dora").await.unwrap();
    server.ready().await;
}

#[tokio::test]
async fn unmigrated__missing_table_or_column_answers_503() {
    let empty = TestDb::empty("").await;
    let behind = TestDb::empty("").await;
    let mut psql = behind.psql().await;
    ALL.run_to(1, &mut psql).await.unwrap();
    // As before a migration that adds a column.
    psql.execute("ALTER TABLE deployments RENAME COLUMN id TO of_an_older_schema").await.unwrap();
    for test in [empty, behind] {
        // Independent of the cached schema state.
        let api = Api::serve(&test.db).await;
        for (method, path) in operations() {
            if method != Method::GET {
                continue;
            }
            let request = api.request(method.clone(), &path);
            if is_stream(&method, &path) {
                assert_eq!(Reader::open(request).await.status, 200, "{path}");
                continue;
            }
            let answer = Answer::of(request.send().await.unwrap()).await;
            assert!(answer.status < 500 || answer.status == 503, "{path}: {}", answer.text);
            if answer.status == 503 {
                assert!(answer.text.contains("not migrated yet"), "{path}: {}", answer.text);
                assert!(!answer.header("retry-after").is_empty());
            }
        }
        api.get("/readyz").await.problem(503, "NOT_READY");
    }
}
