//! A database that a Panda from before 0.2.0 made: refused with one message, and not changed.

use pretty_assertions::assert_eq;
use sqlx::Executor;

use super::{panda, run};
use crate::support::db::{KEY_FILE, TestDb};
use crate::support::process::free_address;

/// A part of such a database: its migrations, two of its tables, and its reporting views.
const OLD: &str = "
    CREATE TABLE _sqlx_migrations (version bigint PRIMARY KEY, description text NOT NULL, installed_on timestamptz NOT NULL DEFAULT now(),
                                   success boolean NOT NULL, checksum bytea NOT NULL, execution_time bigint NOT NULL);
    INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
        VALUES (1, 'init', true, '\\x01', 1), (2, 'step runs', true, '\\x02', 1), (3, 'cancel', true, '\\x03', 1);
    CREATE TABLE replicas (id uuid PRIMARY KEY, name text NOT NULL);
    CREATE TABLE deployments (id text PRIMARY KEY, status text NOT NULL, commit_sha text);
    INSERT INTO deployments VALUES ('dep_1', 'RUNNING', 'abc');
    CREATE SCHEMA panda_report;
    CREATE VIEW panda_report.deployments_v1 AS SELECT id AS deployment_id FROM deployments";

/// The objects of the database, and the rows of two tables.
async fn contents(test: &TestDb) -> Vec<String> {
    let sql = "SELECT 'object ' || c.oid::regclass || ' ' || c.xmin FROM pg_class c
               WHERE c.relnamespace IN ('public'::regnamespace, 'panda_report'::regnamespace)
               UNION ALL SELECT 'row ' || d || ' ' || d.xmin FROM deployments d
               UNION ALL SELECT 'row ' || m || ' ' || m.xmin FROM _sqlx_migrations m ORDER BY 1";
    sqlx::query_scalar(sql).fetch_all(&mut test.psql().await).await.unwrap()
}

#[tokio::test]
async fn old_database__refused_with_remedy_and_unchanged() {
    let test = TestDb::empty("").await;
    test.psql().await.execute(OLD).await.unwrap();
    let before = contents(&test).await;
    let mut ends = vec![run(panda(&["migrate"]).env("PANDA_DATABASE_URL", test.url())).await];
    for flag in ["--migrate=true", "--migrate=false"] {
        let mut serve =
            panda(&["serve", flag, &format!("--listen={}", free_address()), "--controller-region=eu-west-1"]);
        ends.push(run(serve.env("PANDA_DATABASE_URL", test.url()).env("PANDA_KEY_FILE", KEY_FILE)).await);
    }
    for end in ends {
        assert_eq!(end.code, 5, "{end:?}");
        let last = end.stderr.lines().last().unwrap();
        assert!(last.starts_with("panda: the database was made by a Panda from before 0.2.0"), "{end:?}");
        assert!(last.contains("create an empty database") && last.contains("was not changed"), "{last}");
        assert!(!end.stderr.contains("panicked"), "{end:?}");
    }
    assert_eq!(contents(&test).await, before);
}
