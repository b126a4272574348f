//! Databases configured differently: refused with a remedy, or served correctly.

use panda::commands::tokens::revoke_token;
use panda::db::DbError;
use panda::db::fitness::Unfit;
use panda::domain::principal::{Caller, Role, Scope};
use pretty_assertions::assert_eq;
use sqlx::{AssertSqlSafe, Connection as _, Executor, PgConnection};
use url::Url;

use crate::cli::{Ended, panda, run};
use crate::http::auth::{Token, serve as serve_with_tokens};
use crate::http::{Fixture, fixture};
use crate::support::db::{KEY_FILE, TestDb};
use crate::support::process::{Serve, free_address};
use crate::support::wait_for;

async fn migrate(url: &str) -> Ended {
    run(&mut panda(&["migrate", "--database-url", url])).await
}

/// Exit code and last output line of `panda serve`.
async fn serve(url: &str, flag: &str) -> (i32, String) {
    let listen = format!("--listen={}", free_address());
    let mut command = panda(&["serve", flag, &listen, "--controller-region=eu-west-1", "--database-url", url]);
    let ended = run(command.env("PANDA_KEY_FILE", KEY_FILE)).await;
    (ended.code, ended.stderr.lines().last().unwrap_or_default().to_owned())
}

/// `url` with another search path.
fn within(url: &Url, search_path: &str) -> Url {
    let mut url = url.clone();
    url.query_pairs_mut().append_pair("options", &format!("-c search_path={search_path}"));
    // A Postgres URL does not decode a plus as a space.
    let query = url.query().map(|query| query.replace('+', "%20"));
    url.set_query(query.as_deref());
    url
}

/// Asserts that all three programs that use a database refuse it with these words.
async fn is_refused(url: &str, words: &[&str]) {
    let migrated = migrate(url).await;
    let mut ends = vec![(migrated.code, migrated.stderr.lines().last().unwrap_or_default().to_owned())];
    for flag in ["--migrate=true", "--migrate=false"] {
        ends.push(serve(url, flag).await);
    }
    for (code, line) in ends {
        assert!(code == 5 && line.starts_with("panda: "), "{code} {line}");
        for word in words {
            assert!(line.contains(word), "{line} should contain {word}");
        }
    }
}

#[tokio::test]
async fn database_fitness__non_utf8_refused_with_remedy() {
    for encoding in ["EUC_KR", "SQL_ASCII", "LATIN1", "WIN1252"] {
        let options = format!("ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0");
        let test = TestDb::empty(&options).await;
        is_refused(test.url(), &[encoding, "needs UTF8", "CREATE DATABASE", test.name()]).await;
        let tables = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace";
        assert_eq!(sqlx::query_scalar::<_, i64>(tables).fetch_one(&mut test.psql().await).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn database_fitness__scopes_work_with_any_collation() {
    for locale in ["tr", "az", "lt", "und-u-kn-true", "en-u-kf-upper"] {
        let options = format!("LOCALE_PROVIDER icu ICU_LOCALE '{locale}' ENCODING 'UTF8' TEMPLATE template0");
        let test = TestDb::empty(&options).await;
        test.db.migrate().await.unwrap();
        let scope = |names: &[&str]| Scope::of(&names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>()).unwrap();
        let fixture = Fixture::begin_of(&test.db, "AcmeINC", "Shop-IT").await;
        for inside in [scope(&["AcmeINC/*"]), scope(&["acmeinc/shop-it"]), scope(&["ACMEINC/SHOP-IT"]), Scope::All] {
            assert!(test.db.is_in_scope(fixture.id(), &inside).await.unwrap(), "{locale} {inside:?}");
        }
        for external in [scope(&["acmeinc/shop"]), scope(&["acme\u{131}nc/*", "other/*"][1..])] {
            assert!(!test.db.is_in_scope(fixture.id(), &external).await.unwrap(), "{locale} {external:?}");
        }
        // A token sees only its scope, in every list.
        let api = serve_with_tokens(&test.db).await;
        let token = Token::scoped(&test.db, Role::Admin, &["AcmeINC/*"]).await;
        for (path, list) in [("deploy", "/deployments"), ("connections", "/github"), ("audit", "/entries")] {
            let answer = token.get(&api, &format!("/api/v1/{path}")).await;
            let found = answer.json()["data"].pointer(list).and_then(|list| list.as_array().map(Vec::len));
            assert!(found.is_some_and(|found| found > 0), "{locale} {path}: {}", answer.text);
        }
        assert_eq!(token.get(&api, "/api/v1/deploy/current").await.status, 200, "{locale}");
    }
}

#[tokio::test]
async fn database_fitness__second_panda_refused_with_remedy() {
    let test = TestDb::new().await;
    test.psql().await.execute("CREATE SCHEMA second; CREATE SCHEMA \"Third one\"").await.unwrap();
    for path in ["second", "second,public", "\"Third\\ one\""] {
        let url = within(&test.owner_url(), path);
        is_refused(url.as_str(), &["one database holds one Panda", "\"public\"", "a database for each"]).await;
    }
    is_refused(within(&test.owner_url(), "missing").as_str(), &["search_path missing", "create it"]).await;
    // The first installation is not affected.
    assert_eq!(migrate(test.owner_url().as_str()).await.code, 0);
    Serve::on(&test, &[], &[]).ready().await;
}

#[tokio::test]
async fn database_fitness__foreign_report_schema_refused_with_remedy() {
    let test = TestDb::empty("").await;
    test.psql().await.execute("CREATE SCHEMA panda_report; CREATE TABLE panda_report.theirs (n int)").await.unwrap();
    is_refused(test.url(), &["panda_report exists and is not Panda's", "rename it"]).await;
}

#[tokio::test]
async fn database_fitness__any_schema_works() {
    let test = TestDb::empty("").await;
    test.psql().await.execute("CREATE SCHEMA \"Panda's own\"").await.unwrap();
    let mut psql = test.psql().await;
    let path = format!("ALTER DATABASE {} SET search_path = \"Panda's own\"", test.name());
    psql.execute(AssertSqlSafe(path)).await.unwrap();
    let migrated = migrate(test.url()).await;
    assert_eq!(migrated.code, 0, "{migrated:?}");
    let there = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'";
    assert_eq!(sqlx::query_scalar::<_, i64>(there).fetch_one(&mut psql).await.unwrap(), 0);
    psql.execute(AssertSqlSafe(format!("ALTER DATABASE {} RESET search_path", test.name()))).await.unwrap();
    // Servers find the schema by the setting of their role.
    let owner = within(&test.owner_url(), "\"Panda's\\ own\"");
    let role = format!("panda app {}", test.name());
    let printed = run(&mut panda(&["migrate", "--print-app-role", &role, "--database-url", owner.as_str()])).await;
    assert_eq!(printed.code, 0, "{printed:?}");
    psql.execute(AssertSqlSafe(printed.stdout)).await.unwrap();
    psql.execute(AssertSqlSafe(format!("ALTER ROLE \"{role}\" PASSWORD 'x'"))).await.unwrap();
    let mut url = test.owner_url();
    url.set_username(&role).unwrap();
    url.set_password(Some("x")).unwrap();
    let server = Serve::on(&test, &[&format!("--database-url={url}")], &[]);
    server.ready().await;
    drop(server);
    let clean = format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'; DROP OWNED BY \"{role}\"; DROP ROLE \"{role}\""
    );
    psql.execute(AssertSqlSafe(clean)).await.unwrap();
}

#[tokio::test]
async fn database_fitness__missing_migration_right_named() {
    let test = TestDb::new().await;
    // Removes an unknown migration, so that one is missing.
    let mut psql = test.psql().await;
    let last = "DELETE FROM _sqlx_migrations WHERE version = (SELECT max(version) FROM _sqlx_migrations)";
    psql.execute(last).await.unwrap();
    let refused = migrate(test.url()).await;
    assert_eq!(refused.code, 5, "{refused:?}");
    assert!(refused.stderr.contains("may not migrate") && refused.stderr.contains("belong to"), "{refused:?}");
    assert!(matches!(test.db.migrate().await, Err(DbError::Unfit(Unfit::NotOwner { .. }))));
    // A server waits until another role has migrated.
    let server = Serve::on(&test, &["--migrate=true"], &[]);
    wait_for("readiness says why", async || {
        let answer = reqwest::get(format!("{}/readyz", server.url)).await.ok()?;
        answer.text().await.unwrap().contains("may not migrate").then_some(())
    })
    .await;
}

#[tokio::test]
async fn sequences__advanced_after_logical_copy() {
    let test = TestDb::new().await;
    let mut psql = test.psql().await;
    let rows = "INSERT INTO audit (subject, kind, role, action, result) SELECT 'x', 'token', 'admin', 'deploy', 'done' FROM generate_series(1, 300);
                INSERT INTO maintenance_runs (kind, state, requested_at, requested_by) VALUES ('events', 'requested', now(), 'x')";
    psql.execute(rows).await.unwrap();
    assert_eq!(test.db.advance_sequences().await.unwrap(), Vec::<String>::new(), "nothing to do");
    psql.execute("ALTER SEQUENCE audit_id_seq RESTART; ALTER SEQUENCE maintenance_runs_id_seq RESTART").await.unwrap();
    let insert = "INSERT INTO audit (subject, kind, role, action, result) VALUES ('y', 'token', 'admin', 'deploy', 'done') RETURNING id";
    let refused = sqlx::query_scalar::<_, i64>(insert).fetch_one(&mut psql).await.unwrap_err().to_string();
    assert!(refused.contains("audit_pkey"), "{refused}");
    let connections =
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'panda%'";
    let before: Vec<i32> = sqlx::query_scalar(connections).fetch_all(&mut psql).await.unwrap();
    let mut server = Serve::on(&test, &[], &[]);
    server.ready().await;
    assert!(server.log().contains("audit_id_seq"), "{}", server.log());
    // A running server would repeat it within ten seconds.
    server.kill().await;
    // Postgres still ends the last statements of a process that was killed.
    wait_for("the killed server's connections are closed", async || {
        let open: Vec<i32> = sqlx::query_scalar(connections).fetch_all(&mut psql).await.unwrap();
        open.iter().all(|pid| before.contains(pid)).then_some(())
    })
    .await;
    assert_eq!(sqlx::query_scalar::<_, i64>(insert).fetch_one(&mut psql).await.unwrap(), 301);
    // `panda migrate` does it as well, and leaves a sequence that is ahead unchanged.
    psql.execute("ALTER SEQUENCE audit_id_seq RESTART; SELECT setval('maintenance_runs_id_seq', 4711)").await.unwrap();
    let migrated = migrate(test.owner_url().as_str()).await;
    assert!(migrated.stdout.contains("The sequence audit_id_seq was behind"), "{migrated:?}");
    assert!(!migrated.stdout.contains("maintenance_runs"), "{migrated:?}");
    assert_eq!(sqlx::query_scalar::<_, i64>(insert).fetch_one(&mut psql).await.unwrap(), 302);
    let next: i64 = sqlx::query_scalar("SELECT nextval('maintenance_runs_id_seq')").fetch_one(&mut psql).await.unwrap();
    assert_eq!(next, 4712);
}

#[tokio::test]
async fn sequences__all_owned_by_a_column() {
    let test = TestDb::new().await;
    let free = "SELECT s.relname::text FROM pg_class s WHERE s.relkind = 'S' AND s.relnamespace = 'public'::regnamespace
                AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = s.oid AND d.deptype IN ('a', 'i'))";
    let free: Vec<String> = sqlx::query_scalar(free).fetch_all(&mut test.psql().await).await.unwrap();
    assert_eq!(free, Vec::<String>::new(), "let a column own it, so that it is advanced");
}

/// Makes the database refuse new rows of the probe's table with this SQLSTATE.
async fn refuse_rows(psql: &mut PgConnection, code: &str) {
    let sql = format!(
        "CREATE OR REPLACE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '{code}'; END $$;
         CREATE OR REPLACE TRIGGER full_disk BEFORE INSERT ON write_probe FOR EACH ROW EXECUTE FUNCTION full_disk()"
    );
    psql.execute(AssertSqlSafe(sql)).await.unwrap();
}

#[tokio::test]
async fn write_probe__full_disk_and_recovery_noticed() {
    let test = TestDb::new().await;
    let mut psql = test.psql().await;
    let server = Serve::on(&test, &[], &[]);
    server.ready().await;
    let readiness = async || {
        let answer = reqwest::get(format!("{}/readyz", server.url)).await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    refuse_rows(&mut psql, "53100").await;
    wait_for("readiness notices it", async || {
        let (status, detail) = readiness().await;
        status == 503 && detail.contains("the database's disk is full")
    })
    .await;
    let beats = "SELECT bool_or(heartbeat_at > clock_timestamp() - interval '5 s') FROM replicas";
    assert!(sqlx::query_scalar::<_, bool>(beats).fetch_one(&mut psql).await.unwrap());
    psql.execute("DROP TRIGGER full_disk ON write_probe").await.unwrap();
    wait_for("the server is ready again", async || readiness().await.0 == 200).await;
}

#[tokio::test]
async fn write_probe__leaves_nothing_and_waits_for_no_lock() {
    let test = TestDb::new().await;
    test.db.probe_writes().await;
    assert_eq!(test.db.trouble(), None);
    let mut psql = test.psql().await;
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM write_probe").fetch_one(&mut psql).await.unwrap();
    assert_eq!(rows, 0);
    // A backup may read the table for hours.
    refuse_rows(&mut psql, "53100").await;
    let mut backup = psql.begin().await.unwrap();
    backup.execute("SELECT * FROM write_probe").await.unwrap();
    test.db.probe_writes().await;
    assert_eq!(test.db.trouble(), None, "no refusal was detected");
    backup.rollback().await.unwrap();
    test.db.probe_writes().await;
    assert_eq!(test.db.trouble().map(String::from).as_deref(), Some("the database's disk is full"));
    test.db.note_heartbeat(None);
    assert!(test.db.trouble().is_some(), "a heartbeat does not reset it");
    for code in ["58030", "XX000"] {
        refuse_rows(&mut psql, code).await;
        test.db.probe_writes().await;
        assert_eq!(
            test.db.trouble().map(String::from).as_deref(),
            Some("the database cannot write to its disk"),
            "{code}"
        );
    }
}

#[tokio::test]
async fn sequences__audit_kept_in_copy_without_sequences() {
    let test = TestDb::new().await;
    fixture::github_connection(&test.db, "acme", "shop").await;
    let token = Token::of(&test.db, Role::Admin).await;
    test.psql().await.execute("ALTER SEQUENCE audit_id_seq RESTART").await.unwrap();
    assert_eq!(test.db.advance_sequences().await.unwrap(), ["audit_id_seq"]);
    revoke_token(&test.db, &token.id, &Caller::local()).await.unwrap();
}
