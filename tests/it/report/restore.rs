//! The commands of docs/operations.md for a backup and a restore, for an owner and an administrator without superuser's rights, as on RDS.

use std::process::Command;
use std::time::Duration;

use panda::db::reports::Reporters;
use panda_testing::text;
use pretty_assertions::assert_eq;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use url::Url;

use crate::support::db::{TestDb, open};

/// The first block of commands below a heading, with other names for the role and the database `panda`.
fn commands(heading: &str, owner: &str, database: &str) -> String {
    let markdown = text("docs/operations.md");
    let (_, section) = markdown.split_once(&format!("\n## {heading}\n")).unwrap();
    let block = section.split("```sh\n").nth(1).unwrap().split("```").next().unwrap();
    let named = block.replace("GRANT panda TO", &format!("GRANT {owner} TO"));
    named.replace("--owner=panda panda", &format!("--owner={owner} {database}"))
}

fn run(commands: &str, owner: &Url, admin: &Url, folder: &std::path::Path) {
    let programs = std::path::Path::new(env!("CARGO_BIN_EXE_panda")).parent().unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", commands])
        .current_dir(folder)
        .env("PATH", path)
        .env("OWNER_URL", owner.as_str())
        .env("ADMIN_URL", admin.as_str())
        .output()
        .unwrap();
    assert!(output.status.success(), "{commands}\n{}", String::from_utf8_lossy(&output.stderr));
}

/// Addresses of the test server for another user and database.
fn address(test: &TestDb, user: &str, database: &str) -> Url {
    let mut url = test.owner_url();
    url.set_username(user).unwrap();
    url.set_password(Some("x")).unwrap();
    url.set_path(database);
    url
}

async fn applied(url: &Url) -> i64 {
    let mut owner = PgConnection::connect(url.as_str()).await.unwrap();
    sqlx::query_scalar("SELECT count(*) FROM _sqlx_migrations").fetch_one(&mut owner).await.unwrap()
}

#[tokio::test]
async fn restore__documented_commands_work_without_superuser() {
    let test = TestDb::new().await;
    let suffix = &test.name()[11..23];
    let (owner, admin) = (format!("panda_owner_{suffix}"), format!("panda_master_{suffix}"));
    let (before, after) = (format!("panda_before_{suffix}"), format!("panda_after_{suffix}"));
    let mut psql = test.psql().await;
    for sql in [
        format!("CREATE ROLE {owner} LOGIN PASSWORD 'x'"),
        format!("CREATE ROLE {admin} LOGIN CREATEDB CREATEROLE PASSWORD 'x'"),
        format!("GRANT {owner} TO {admin} WITH ADMIN OPTION"),
        format!("CREATE DATABASE {before} OWNER {owner}"),
    ] {
        psql.execute(AssertSqlSafe(sql)).await.unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let administrator = address(&test, &admin, "postgres");
    let backed_up = address(&test, &owner, &before);
    open(&backed_up, 2, Duration::from_secs(10)).migrate().await.unwrap();
    run(&commands("Backing up", &owner, &before), &backed_up, &administrator, folder.path());

    let restored = address(&test, &owner, &after);
    run(&commands("A restore", &owner, &after), &restored, &administrator, folder.path());
    assert_eq!(applied(&restored).await, applied(&backed_up).await);
    assert_eq!(open(&restored, 2, Duration::from_secs(10)).reporters().await.unwrap(), Reporters::Ready);

    // An administrator who may not grant access to the owner's views gets a warning with the next step, and nothing fails.
    let script = "panda migrate --print-report-role | psql --quiet --set=ON_ERROR_STOP=1 \"$ADMIN_URL\"";
    psql.execute(AssertSqlSafe(format!("REVOKE {owner} FROM {admin}"))).await.unwrap();
    run(script, &restored, &address(&test, &admin, &after), folder.path());
    for sql in [
        format!("DROP DATABASE {before} WITH (FORCE)"),
        format!("DROP DATABASE {after} WITH (FORCE)"),
        format!("DROP ROLE {admin}"),
        format!("DROP ROLE {owner}"),
    ] {
        psql.execute(AssertSqlSafe(sql)).await.unwrap();
    }
}
