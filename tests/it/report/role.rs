//! The role `panda_report` reads the views and nothing else.

use std::time::Duration;

use panda::db::reports::{ROLE_SCRIPT, Reporters};
use pretty_assertions::assert_eq;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use super::{VIEWS, reporter};
use crate::support::db::{TestDb, open};

/// SQLSTATE of a refused statement.
async fn refusal(connection: &mut PgConnection, sql: &str) -> String {
    match connection.execute(AssertSqlSafe(sql.to_owned())).await {
        Ok(_) => panic!("it was not refused: {sql}"),
        Err(sqlx::Error::Database(error)) => error.code().unwrap().into_owned(),
        Err(error) => panic!("{sql}: {error}"),
    }
}

/// SQLSTATE of insufficient privilege.
const DENIED: &str = "42501";

#[tokio::test]
async fn report_role__reads_views_but_no_table() {
    let test = TestDb::new().await;
    let mut reporter = reporter(&test).await;
    for view in VIEWS {
        reporter.execute(AssertSqlSafe(format!("SELECT * FROM {view}"))).await.unwrap();
        let sql =
            "SELECT has_table_privilege('panda_report', $1, 'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')";
        let name = format!("panda_report.{view}");
        let more: bool = sqlx::query_scalar(sql).bind(name).fetch_one(&mut reporter).await.unwrap();
        assert!(!more, "{view}");
    }
    let sql = "SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f')
               ORDER BY 1";
    let tables: Vec<String> = sqlx::query_scalar(sql).fetch_all(&mut test.psql().await).await.unwrap();
    for secret in
        ["github_connections", "aws_connections", "api_tokens", "sessions", "audit", "deployments", "history_attempts"]
    {
        assert!(tables.contains(&secret.to_owned()), "{secret}");
    }
    for table in tables {
        assert_eq!(refusal(&mut reporter, &format!("SELECT FROM public.{table}")).await, DENIED, "{table}");
        let insert =
            format!("SET transaction_read_only = off; SET search_path = public; INSERT INTO {table} DEFAULT VALUES");
        // A view of several tables accepts no INSERT from any role.
        let expected = if table.starts_with("history_") && table != "history_pieces" { "55000" } else { DENIED };
        assert_eq!(refusal(&mut reporter, &insert).await, expected, "{table}");
    }
    let owned = "SELECT count(*) FROM information_schema.column_privileges WHERE grantee = 'panda_report' AND table_schema <> 'panda_report'";
    let elsewhere: i64 = sqlx::query_scalar(owned).fetch_one(&mut test.psql().await).await.unwrap();
    assert_eq!(elsewhere, 0);
}

#[tokio::test]
async fn report_role__changes_nothing_and_stays_in_database() {
    let test = TestDb::new().await;
    let mut reporter = reporter(&test).await;
    assert_eq!(refusal(&mut reporter, "CREATE TABLE mine (n int)").await, "25006", "read-only by default");
    for sql in [
        "CREATE TABLE panda_report.mine (n int)",
        "CREATE VIEW panda_report.deployments_v2 AS SELECT 1",
        "CREATE OR REPLACE VIEW panda_report.queue_v1 AS SELECT 1",
        "DROP VIEW panda_report.queue_v1",
        "CREATE FUNCTION panda_report.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "SELECT public.event_place()",
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT pg_ls_dir('.')",
        "SELECT lo_import('/etc/passwd')",
        "COPY (SELECT 1) TO PROGRAM 'true'",
        "COPY (SELECT 1) TO '/tmp/panda_report'",
        "SELECT pg_reload_conf()",
        "SELECT setval('public.audit_id_seq', 1)",
        "SELECT rolpassword FROM pg_authid",
        "CREATE ROLE another",
        "ALTER ROLE panda_report SUPERUSER",
        "GRANT SELECT ON public.deployments TO panda_report",
        "SET SESSION AUTHORIZATION postgres",
    ] {
        let mut tx = reporter.begin().await.unwrap();
        tx.execute("SET LOCAL transaction_read_only = off; SET LOCAL search_path = public").await.unwrap();
        assert_eq!(refusal(&mut tx, sql).await, DENIED, "{sql}");
    }
}

#[tokio::test]
async fn report_role__limits_end_expensive_query() {
    let test = TestDb::new().await;
    let mut reporter = reporter(&test).await;
    for (setting, value) in [
        ("statement_timeout", "30s"),
        ("lock_timeout", "5s"),
        ("idle_in_transaction_session_timeout", "1min"),
        ("default_transaction_read_only", "on"),
        ("TimeZone", "UTC"),
        ("search_path", "panda_report"),
        ("jit", "off"),
    ] {
        let shown: String =
            sqlx::query_scalar(AssertSqlSafe(format!("SHOW {setting}"))).fetch_one(&mut reporter).await.unwrap();
        assert_eq!(shown, value, "{setting}");
    }
    reporter.execute("SET statement_timeout = '50ms'").await.unwrap();
    let cross = "SELECT count(*) FROM generate_series(1, 100000) a, generate_series(1, 100000) b";
    assert_eq!(refusal(&mut reporter, cross).await, "57014");
}

/// The script for a role of another name, so that tests can begin without it.
fn script(role: &str) -> String {
    ROLE_SCRIPT
        .replace("ROLE panda_report", &format!("ROLE {role}"))
        .replace("TO panda_report", &format!("TO {role}"))
        .replace("rolname = 'panda_report'", &format!("rolname = '{role}'"))
}

async fn exists(test: &TestDb, role: &str) -> bool {
    let sql = "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)";
    sqlx::query_scalar(sql).bind(role).fetch_one(&mut test.psql().await).await.unwrap()
}

#[tokio::test]
async fn report_role__migration_without_createrole_warns() {
    let test = TestDb::new().await;
    let name = format!("panda_owner_{}", &test.name()[11..23]);
    let role = format!("panda_report_{}", &test.name()[11..23]);
    let mut admin = test.psql().await;
    let sql = format!(
        "CREATE ROLE {name} LOGIN PASSWORD 'x'; GRANT CREATE ON DATABASE {0} TO {name}; DROP SCHEMA panda_report CASCADE; DROP SCHEMA public CASCADE; CREATE SCHEMA public AUTHORIZATION {name}",
        test.name()
    );
    admin.execute(AssertSqlSafe(sql)).await.unwrap();
    let mut url = test.owner_url();
    url.set_username(&name).unwrap();
    url.set_password(Some("x")).unwrap();
    // The role exists on this server already, and the owner of the views may grant access to them.
    let db = open(&url, 2, Duration::from_secs(10));
    db.migrate().await.unwrap();
    assert_eq!(db.reporters().await.unwrap(), Reporters::Ready);
    // Without it nothing fails, and nothing is made.
    let mut owner = PgConnection::connect(url.as_str()).await.unwrap();
    owner.execute(AssertSqlSafe(script(&role))).await.unwrap();
    assert!(!exists(&test, &role).await);
    // The missing grant is detected, and the administrator's script restores it.
    admin.execute("REVOKE SELECT ON panda_report.queue_v1 FROM panda_report").await.unwrap();
    assert_eq!(db.reporters().await.unwrap(), Reporters::ScriptNeeded);
    admin.execute(ROLE_SCRIPT).await.unwrap();
    assert_eq!(db.reporters().await.unwrap(), Reporters::Ready);
    owner.close().await.unwrap();
    drop(db);
    let sql = format!("REASSIGN OWNED BY {name} TO CURRENT_USER; DROP OWNED BY {name}; DROP ROLE {name}");
    admin.execute(AssertSqlSafe(sql)).await.unwrap();
}

#[tokio::test]
async fn report_role__concurrent_migrations_create_it_once() {
    let mut tests = Vec::new();
    for _ in 0..4 {
        tests.push(TestDb::new().await);
    }
    let role = format!("panda_report_{}", &tests[0].name()[11..23]);
    let mut making = tokio::task::JoinSet::new();
    for test in &tests {
        let (mut psql, script) = (test.psql().await, script(&role));
        making.spawn(async move { psql.execute(AssertSqlSafe(script)).await.map(|_| ()) });
    }
    for made in making.join_all().await {
        made.unwrap();
    }
    assert!(exists(&tests[0], &role).await);
    for test in &tests {
        let sql = format!("DROP OWNED BY {role}");
        test.psql().await.execute(AssertSqlSafe(sql)).await.unwrap();
    }
    tests[0].psql().await.execute(AssertSqlSafe(format!("DROP ROLE {role}"))).await.unwrap();
}
