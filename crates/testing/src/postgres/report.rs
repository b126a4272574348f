//! Queries as the reporting role, and their rows as text or JSON.

use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row};

use super::TestDb;
use crate::Program;

/// The password of the role in tests.
const PASSWORD: &str = "reports-of-a-test";

/// A connection as the reporting role.
pub async fn reporter<P: Program>(test: &TestDb<P>) -> PgConnection {
    let server = test.owner_url();
    let mut shared = server.clone();
    shared.set_path("postgres");
    // Roles belong to the server, which tests share: two concurrent changes of one role would fail.
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

/// Rows as JSON objects.
pub async fn json(connection: &mut PgConnection, sql: &str) -> Vec<Value> {
    let sql = format!("SELECT to_jsonb(q) FROM ({sql}) AS q");
    sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(connection).await.unwrap()
}

/// Rows as psql's unaligned format: columns separated by `|`, nothing for null.
pub async fn lines(connection: &mut PgConnection, sql: &str) -> Vec<String> {
    let sql = format!(
        "SELECT array_to_string(ARRAY (SELECT value FROM json_each_text(row_to_json(r))), '|', '') FROM ({sql}) AS r"
    );
    let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(connection).await.unwrap();
    rows.into_iter().map(|row| row.get(0)).collect()
}
