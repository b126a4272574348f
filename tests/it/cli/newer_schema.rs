//! A program on a schema newer than its own: during an upgrade, and after a rollback.

use panda::db::schema::known;
use pretty_assertions::assert_eq;
use sqlx::{AssertSqlSafe, Executor};

use super::{Ended, panda, run};
use crate::support::db::{KEY_FILE, TestDb};
use crate::support::process::{Serve, free_address};
use crate::support::wait_for;

/// A database with a migration of the next version that works with programs that know `works_with`; `None` declares nothing.
async fn newer(works_with: Option<i64>) -> TestDb {
    let test = TestDb::new().await;
    let mut psql = test.psql().await;
    psql.execute(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9999, 'of the next version', true, '\\x00', 1)",
    )
    .await
    .unwrap();
    if let Some(works_with) = works_with {
        let said = format!("SELECT schema_version(9999, works_with => {works_with})");
        psql.execute(AssertSqlSafe(said)).await.unwrap();
    }
    test
}

async fn migrate(test: &TestDb) -> Ended {
    run(panda(&["migrate"]).env("PANDA_DATABASE_URL", test.url())).await
}

#[tokio::test]
async fn newer_schema__compatible_served_unchanged() {
    let test = newer(Some(known())).await;
    for flags in [&["--migrate=true"][..], &[]] {
        let server = Serve::on(&test, flags, &[]);
        server.ready().await;
        wait_for("the server logs the newer schema", async || {
            server.log().contains("newer than this version and compatible with it")
        })
        .await;
    }
    let migrated = migrate(&test).await;
    assert_eq!(migrated.code, 0, "{migrated:?}");
    assert!(
        migrated.stdout.contains("migration 9999") && migrated.stdout.contains("works with this one"),
        "{migrated:?}"
    );
}

#[tokio::test]
async fn newer_schema__incompatible_refused_with_remedy() {
    for (works_with, needed) in [(None, None), (Some(known() + 1), Some(format!("knows {}", known() + 1)))] {
        let test = newer(works_with).await;
        let mut ends = vec![migrate(&test).await];
        for flag in ["--migrate=true", "--migrate=false"] {
            let mut serve =
                panda(&["serve", flag, &format!("--listen={}", free_address()), "--controller-region=eu-west-1"]);
            ends.push(run(serve.env("PANDA_DATABASE_URL", test.url()).env("PANDA_KEY_FILE", KEY_FILE)).await);
        }
        for end in ends {
            assert_eq!(end.code, 5, "{end:?}");
            let last = end.stderr.lines().last().unwrap();
            assert!(last.starts_with("panda: the database has the schema of a newer Panda"), "{end:?}");
            assert!(
                last.contains("migration 9999") && last.contains("newer version again") && last.contains("backup"),
                "{last}"
            );
            assert_eq!(last.contains("is needed"), needed.is_some(), "{last}");
            assert!(needed.as_ref().is_none_or(|needed| last.contains(needed.as_str())), "{last}");
            assert!(!end.stderr.contains("panicked") && !end.stderr.contains("stack backtrace"), "{end:?}");
        }
        let replicas: i64 =
            sqlx::query_scalar("SELECT count(*) FROM replicas").fetch_one(&mut test.psql().await).await.unwrap();
        assert_eq!(replicas, 0, "nothing was begun");
    }
}

#[tokio::test]
async fn newer_schema__incompatible_at_runtime_not_ready() {
    let test = TestDb::new().await;
    let server = Serve::on(&test, &[], &[]);
    server.ready().await;
    // A migration refuses this while a replica runs; an operator may have forced it.
    let forced = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9999, 'forced', true, '\\x00', 1)";
    test.psql().await.execute(forced).await.unwrap();
    // Probes within a quarter of a second share one check of the database.
    let answer = wait_for("the next check", async || {
        let answer = reqwest::get(format!("{}/readyz", server.url)).await.unwrap();
        (answer.status() == 503).then_some(answer)
    })
    .await;
    let problem: serde_json::Value = answer.json().await.unwrap();
    assert!(problem["detail"].as_str().unwrap().contains("newer version again"), "{problem}");
}
