//! The schema `panda_report`: what its views say, who may read them, and that both stay as they were documented.

mod docs;
mod figures;
mod frozen;
mod grafana;
mod real;
mod role;
mod upgrade;

use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row};

use crate::support::db::TestDb;

/// The views that reporters have, in the order of the documentation.
pub const VIEWS: [&str; 12] = [
    "deployments_v1",
    "deployments_v2",
    "events_v1",
    "stages_v1",
    "failures_v1",
    "approvals_v1",
    "queue_v1",
    "throughput_v1",
    "dora_daily_v1",
    "dora_monthly_v1",
    "dora_daily_v2",
    "dora_monthly_v2",
];

/// What the role is given here to sign in with.
const PASSWORD: &str = "reports-of-a-test";

/// A connection of somebody who reports.
pub async fn reporter(test: &TestDb) -> PgConnection {
    let server = test.owner_url();
    let mut shared = server.clone();
    shared.set_path("postgres");
    // The role is the server's, which tests share: two that change it at once would trip over each other.
    let mut admin = PgConnection::connect(shared.as_str()).await.unwrap();
    admin.execute("SELECT pg_advisory_lock(4711)").await.unwrap();
    let sql = format!("ALTER ROLE panda_report LOGIN PASSWORD '{PASSWORD}'");
    admin.execute(AssertSqlSafe(sql)).await.unwrap();
    admin.close().await.unwrap();
    let mut url = server;
    url.set_username("panda_report").unwrap();
    url.set_password(Some(PASSWORD)).unwrap();
    PgConnection::connect(url.as_str()).await.unwrap()
}

/// Rows as JSON, each an object.
pub async fn json(connection: &mut PgConnection, sql: &str) -> Vec<Value> {
    let sql = format!("SELECT to_jsonb(q) FROM ({sql}) AS q");
    sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(connection).await.unwrap()
}

/// Rows as psql's unaligned ones: columns separated by `|`, nothing for null.
pub async fn lines(connection: &mut PgConnection, sql: &str) -> Vec<String> {
    let sql = format!(
        "SELECT array_to_string(ARRAY (SELECT value FROM json_each_text(row_to_json(r))), '|', '') FROM ({sql}) AS r"
    );
    let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(connection).await.unwrap();
    rows.into_iter().map(|row| row.get(0)).collect()
}
