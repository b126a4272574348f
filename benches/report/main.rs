//! Measures the cost of a long history: `make bench-report`.
//!
//! Fills a dedicated durable Postgres with 100,000 deployments and 5 million events over 400 days (some minutes, 6 GB of disk). Then measures the
//! size of a deployment, every query of docs/reporting.md as documented and the DORA views as a whole, a page of the list and a result through the
//! release program's API, and the rate at which retention removes events, alone and while the program follows 10,000 executions.
//!
//! `PANDA_BENCH_DEPLOYMENTS` and `PANDA_BENCH_EVENTS` (of each) make it smaller, `PANDA_BENCH_FOLLOWED` the load; `PANDA_BENCH_SECONDS` is the time
//! over which lateness is measured before retention begins (20).

mod pages;
mod queries;
mod retention;

use std::time::Instant;

use panda_benches::figures::{head, line, number, seconds};
use panda_benches::postgres::{Database, Server};
use panda_benches::rows;
use panda_benches::sandbox::serve_if_asked;
use serde_json::json;
use sqlx::{Executor, PgConnection, Row};

#[tokio::main]
async fn main() {
    serve_if_asked().await;
    let (deployments, events) = (number("PANDA_BENCH_DEPLOYMENTS", 100_000), number("PANDA_BENCH_EVENTS", 50));
    let followed = number("PANDA_BENCH_FOLLOWED", 10_000);
    let server = Server::start().await;
    let database = server.database().await;
    let begun = Instant::now();
    fill(&database, deployments, events).await;
    eprintln!("filled in {:.0} s", begun.elapsed().as_secs_f64());
    let mut look = database.look().await;

    head();
    line("deployments", deployments, "");
    line("events", deployments * events, "");
    let storage = storage(&mut look, deployments).await;
    let queries = queries::measure(&mut look).await;
    let pages = pages::measure(&database).await;
    let retention = retention::measure(&database, followed, seconds("PANDA_BENCH_SECONDS", 20)).await;
    println!(
        "{}",
        json!({"deployments": deployments, "events": deployments * events, "bytes_per_deployment": storage, "queries_ms": queries,
               "pages_ms": pages, "retention": retention})
    );
}

/// Writes the history, as fast as the database takes it.
async fn fill(database: &Database, deployments: usize, events: usize) {
    // The connections are made by the program's own code, the deployments by SQL.
    rows::create(&database.db, 0).await;
    let mut connection = database.look().await;
    let id = async |table: &str| -> String {
        let sql = format!("SELECT id FROM {table}");
        sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(&mut database.look().await).await.unwrap()
    };
    let sql = include_str!("fill.sql")
        .replace("{deployments}", &deployments.to_string())
        .replace("{events}", &events.to_string())
        .replace("{github}", &id("github_connections").await)
        .replace("{aws}", &id("aws_connections").await);
    connection.execute(sqlx::AssertSqlSafe(sql)).await.unwrap();
    let begun = Instant::now();
    database.db.rebuild_reports().await.unwrap();
    eprintln!("rows for reports written in {:.0} s", begun.elapsed().as_secs_f64());
    database.settle().await;
}

/// Prints the bytes per deployment of each table, indexes included, and returns the total.
async fn storage(look: &mut PgConnection, deployments: usize) -> f64 {
    let tables = ["deployment_events", "step_runs", "deployments", "audit", "deployment_attempts", "report_attempts"];
    let mut total = 0.0;
    for table in tables {
        let row = sqlx::query("SELECT pg_table_size($1::regclass) AS rows, pg_indexes_size($1::regclass) AS indexes")
            .bind(table)
            .fetch_one(&mut *look)
            .await
            .unwrap();
        let of = |column| row.get::<i64, _>(column) as f64 / deployments as f64;
        let (rows, indexes) = (of("rows"), of("indexes"));
        line(&format!("{table}, bytes a deployment: rows + indexes"), format!("{rows:.0} + {indexes:.0}"), "");
        total += rows + indexes;
    }
    line("all of them, bytes a deployment", format!("{total:.0}"), "");
    total
}
