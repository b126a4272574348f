//! The role that servers sign in as: the grants of `panda migrate --print-app-role`, and readiness when one is missing.

use panda::db::fitness::{AppRoleError, tables};
use pretty_assertions::assert_eq;
use sqlx::{AssertSqlSafe, Connection as _, Executor, PgConnection};

use crate::cli::{panda, run};
use crate::http::Api;
use crate::support::db::TestDb;
use crate::support::process::Serve;
use crate::support::wait_for;

#[tokio::test]
async fn app_role__table_list_complete() {
    let test = TestDb::new().await;
    let sql = "SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') ORDER BY relname COLLATE \"C\"";
    let there: Vec<String> = sqlx::query_scalar(sql).fetch_all(&mut test.psql().await).await.unwrap();
    for table in there {
        assert!(
            tables().any(|listed| listed == table),
            "src/db/fitness/privileges.rs lists each table: {table} is missing"
        );
    }
}

#[tokio::test]
async fn app_role__foreign_tables_untouched() {
    let test = TestDb::new().await;
    // Of the same owner, and created before the role.
    let test = test.into_owners();
    let url = test.owner_url();
    let theirs = "CREATE TABLE theirs (id bigint GENERATED ALWAYS AS IDENTITY); INSERT INTO theirs DEFAULT VALUES; ALTER SEQUENCE theirs_id_seq RESTART";
    test.psql().await.execute(theirs).await.unwrap();
    let app = format!("app_{}", test.name());
    let printed = run(&mut panda(&["migrate", "--print-app-role", &app, "--database-url", url.as_str()])).await;
    assert!(printed.code == 0 && !printed.stdout.contains("theirs"), "{printed:?}");
    let mut psql = test.psql().await;
    psql.execute(AssertSqlSafe(format!("{}; SET ROLE {app}", printed.stdout))).await.unwrap();
    assert!(psql.execute("SELECT FROM theirs").await.is_err());
    let advanced: Vec<String> = sqlx::query_scalar("SELECT advance_sequences()").fetch_all(&mut psql).await.unwrap();
    assert_eq!(advanced, Vec::<String>::new(), "tables that it may not read are left out");
    psql.execute(AssertSqlSafe(format!("RESET ROLE; DROP OWNED BY {app}; DROP ROLE {app}"))).await.unwrap();
}

#[tokio::test]
async fn app_role__later_migration_needs_no_grants() {
    let test = TestDb::new().await;
    let later = "CREATE TABLE later (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, n bigserial);
                 CREATE SEQUENCE later_numbers;
                 CREATE FUNCTION later_function() RETURNS int LANGUAGE sql AS 'SELECT 1';
                 CREATE VIEW panda_report.later_v1 AS SELECT count(*) FROM later";
    test.psql().await.execute(later).await.unwrap();
    let mut app = PgConnection::connect(test.url()).await.unwrap();
    for sql in [
        "INSERT INTO later DEFAULT VALUES",
        "UPDATE later SET n = 2",
        "SELECT nextval('later_numbers'), setval('later_numbers', 7), last_value FROM later_numbers",
        "SELECT later_function(), * FROM panda_report.later_v1",
        "DELETE FROM later",
    ] {
        app.execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
    for sql in ["TRUNCATE later", "DROP TABLE later", "CREATE INDEX ON later (n)"] {
        let error = app.execute(sql).await.unwrap_err().to_string();
        assert!(error.contains("permission denied") || error.contains("must be owner"), "{sql}: {error}");
    }
}

#[tokio::test]
async fn app_role__script_idempotent_and_revokes_excess() {
    let test = TestDb::new().await;
    let mut psql = test.psql().await;
    let role = "It's \"her\" $panda$ :role";
    let quoted = format!("\"{}\"", role.replace('"', "\"\""));
    let url = test.owner_url();
    let printed = run(&mut panda(&["migrate", "--print-app-role", role, "--database-url", url.as_str()])).await;
    assert_eq!(printed.code, 0, "{printed:?}");
    let script = printed.stdout;
    assert!(script.contains("ALTER DEFAULT PRIVILEGES FOR ROLE ") && script.contains(" ON SEQUENCES TO "), "{script}");
    psql.execute(AssertSqlSafe(script.clone())).await.unwrap();
    let rights = "SELECT array_agg(DISTINCT privilege_type::text ORDER BY privilege_type::text) FROM information_schema.table_privileges
                  WHERE grantee = $1 AND table_schema || '.' || table_name = $2";
    let mut rights_on = async |table: &str| -> Vec<String> {
        sqlx::query_scalar(rights).bind(role).bind(table).fetch_one(&mut psql).await.unwrap()
    };
    assert_eq!(rights_on("public.audit").await, ["INSERT", "SELECT"]);
    let more = format!("GRANT ALL ON ALL TABLES IN SCHEMA public TO {quoted}");
    test.psql().await.execute(AssertSqlSafe(more)).await.unwrap();
    assert!(rights_on("public.audit").await.len() > 4);
    for _ in 0..2 {
        test.psql().await.execute(AssertSqlSafe(script.clone())).await.unwrap();
        assert_eq!(rights_on("public.audit").await, ["INSERT", "SELECT"]);
        assert_eq!(rights_on("public.schema_versions").await, ["SELECT"]);
        assert_eq!(rights_on("public.deployments").await, ["DELETE", "INSERT", "SELECT", "UPDATE"]);
        assert_eq!(rights_on("panda_report.deployments_v1").await, ["SELECT"]);
    }
    let clean = format!("DROP OWNED BY {quoted}; DROP ROLE {quoted}");
    psql.execute(AssertSqlSafe(clean)).await.unwrap();
}

#[tokio::test]
async fn app_role__created_by_owner_without_superuser() {
    let test = TestDb::empty("").await;
    let (owner, app) = (format!("owner_{}", test.name()), format!("app_{}", test.name()));
    let mut admin = test.psql().await;
    let sql = format!(
        "CREATE ROLE {owner} LOGIN CREATEROLE PASSWORD 'x'; ALTER DATABASE {} OWNER TO {owner}; ALTER SCHEMA public OWNER TO {owner}",
        test.name()
    );
    admin.execute(AssertSqlSafe(sql)).await.unwrap();
    let mut url = test.owner_url();
    url.set_username(&owner).unwrap();
    url.set_password(Some("x")).unwrap();
    let migrated = run(&mut panda(&["migrate", "--database-url", url.as_str()])).await;
    assert_eq!(migrated.code, 0, "{migrated:?}");
    let printed = run(&mut panda(&["migrate", "--print-app-role", &app, "--database-url", url.as_str()])).await;
    let mut session = PgConnection::connect(url.as_str()).await.unwrap();
    session.execute(AssertSqlSafe(printed.stdout)).await.unwrap();
    session.execute(AssertSqlSafe(format!("ALTER ROLE {app} PASSWORD 'x'"))).await.unwrap();
    session.close().await.unwrap();
    url.set_username(&app).unwrap();
    let server = Serve::on(&test, &[&format!("--database-url={url}")], &[]);
    server.ready().await;
    let reports: serde_json::Value =
        reqwest::get(format!("{}/api/v1/reports", server.url)).await.unwrap().json().await.unwrap();
    for report in reports["data"]["reports"].as_array().unwrap() {
        let path = format!("{}/api/v1/reports/{}", server.url, report["name"].as_str().unwrap());
        assert_eq!(reqwest::get(path).await.unwrap().status(), 200, "{report}");
    }
    drop(server);
    let clean = format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename IN ('{owner}', '{app}');
         DROP OWNED BY {app}; REASSIGN OWNED BY {owner} TO CURRENT_USER; DROP OWNED BY {owner}; DROP ROLE {app}, {owner}"
    );
    admin.execute(AssertSqlSafe(clean)).await.unwrap();
}

#[tokio::test]
async fn app_role__no_script_for_owner_or_before_migration() {
    let test = TestDb::empty("").await;
    let refused = test.db.app_role_script(&"panda_app".parse().unwrap()).await;
    assert!(matches!(refused, Err(AppRoleError::NotMigrated)), "{refused:?}");
    test.db.migrate().await.unwrap();
    let owner: String =
        sqlx::query_scalar("SELECT current_user::text").fetch_one(&mut test.psql().await).await.unwrap();
    let refused = test.db.app_role_script(&owner.parse().unwrap()).await;
    assert!(matches!(refused, Err(AppRoleError::IsOwner)), "{refused:?}");
    let url = test.owner_url();
    let wrong = run(&mut panda(&["migrate", "--print-app-role", "public", "--database-url", url.as_str()])).await;
    assert!(wrong.code == 2 && wrong.stderr.contains("must be a role name"), "{wrong:?}");
}

#[tokio::test]
async fn app_role__missing_privilege_named_with_remedy() {
    let test = TestDb::new().await;
    let mut psql = test.psql().await;
    let role = url::Url::parse(test.url()).unwrap().username().to_owned();
    for (right, kind, object, named) in [
        ("INSERT", "", "sessions", "INSERT on table sessions"),
        ("DELETE", "", "deployment_events", "DELETE on table deployment_events"),
        ("TRUNCATE", "", "write_probe", "TRUNCATE on table write_probe"),
        ("USAGE", "SEQUENCE ", "audit_id_seq", "USAGE on sequence audit_id_seq"),
        ("SELECT", "", "panda_report.attempts_v1", "SELECT on view panda_report.attempts_v1"),
        ("USAGE", "SCHEMA ", "panda_report", "USAGE on schema panda_report"),
    ] {
        psql.execute(AssertSqlSafe(format!("REVOKE {right} ON {kind}{object} FROM {role}"))).await.unwrap();
        // A new pool without cached state: an earlier result is cached for some seconds.
        let fresh = test.again();
        let api = Api::serve(&fresh).await;
        let answer = api.get("/readyz").await;
        let detail = answer.problem(503, "NOT_READY")["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(named) && detail.contains(&format!("--print-app-role {role}")), "{detail}");
        test.grant_to_app().await;
        // Probes within a quarter of a second share one check.
        wait_for("it recovers with the next check", async || api.get("/readyz").await.status == 200).await;
    }
    // A replica that was ready notices it as well.
    let api = Api::serve(&test.db).await;
    assert_eq!(api.get("/readyz").await.status, 200);
    psql.execute(AssertSqlSafe(format!("REVOKE UPDATE ON deployments FROM {role}"))).await.unwrap();
    wait_for("the server is not ready", async || api.get("/readyz").await.status == 503).await;
    // A statement that lacks a right waits, and is not reported as a server error.
    psql.execute(AssertSqlSafe(format!("REVOKE SELECT ON deployments FROM {role}"))).await.unwrap();
    let answer = api.get("/api/v1/deploy").await;
    let detail = answer.problem(503, "DATABASE_UNAVAILABLE")["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("lacks a privilege") && !answer.header("retry-after").is_empty(), "{detail}");
}
