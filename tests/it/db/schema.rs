//! Migrations while other processes use the database, and the compatibility that migrations declare.

use std::time::Duration;

use panda::db::schema::{Migrated, known};
use panda::domain::schema::Fit;
use pretty_assertions::assert_eq;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AssertSqlSafe, Connection, Executor, SqlStr};

use super::replica_with;
use crate::support::db::TestDb;
use crate::support::wait_for;

static ALL: Migrator = sqlx::migrate!();

/// The last migration of the first release: no program knows a part of these migrations, so each works with those that know it.
const FIRST_RELEASE: i64 = 2;

/// A database with the first migration alone.
async fn begun() -> TestDb {
    let test = TestDb::empty("").await;
    ALL.run_to(1, &mut test.psql().await).await.unwrap();
    assert_eq!(test.db.schema().await.unwrap(), Fit::Behind);
    test
}

/// The migrations with one more, as of the next version.
fn with_next(sql: &'static str) -> Migrator {
    let mut all: Vec<Migration> = ALL.iter().cloned().collect();
    all.push(Migration::new(9_000, "next".into(), MigrationType::Simple, SqlStr::from_static(sql), false));
    Migrator { migrations: all.into(), ..Migrator::DEFAULT }
}

#[tokio::test]
async fn migration__long_transaction_does_not_queue_others() {
    let test = TestDb::new().await.into_owners();
    let mut long = test.psql().await;
    long.execute("BEGIN; SELECT * FROM replicas").await.unwrap();
    let db = test.db.clone();
    let next = with_next("ALTER TABLE replicas ADD COLUMN of_the_next_version int");
    let migrating = tokio::spawn(async move { db.apply(&next).await });
    let mut psql = test.psql().await;
    let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'replicas'::regclass
                 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    wait_for("the migration waits for the table", async || {
        sqlx::query_scalar::<_, i64>(waits).fetch_one(&mut psql).await.unwrap() > 0
    })
    .await;
    // A heartbeat of the previous version queues behind the waiting migration, and must succeed before a lease of 3.5 s ends.
    let heartbeat = psql.execute("UPDATE replicas SET heartbeat_at = clock_timestamp()");
    tokio::time::timeout(Duration::from_millis(3_150), heartbeat)
        .await
        .expect("it does not wait for the long one")
        .unwrap();
    assert!(!migrating.is_finished());
    long.execute("COMMIT").await.unwrap();
    migrating.await.unwrap().unwrap();
    psql.execute("SELECT of_the_next_version FROM replicas").await.unwrap();
}

#[tokio::test]
async fn migration__concurrent_replicas_serialised() {
    let test = TestDb::empty("").await;
    let all = futures_util::future::join_all((0..4).map(|_| test.db.migrate())).await;
    assert!(all.iter().all(|done| matches!(done, Ok(Migrated::UpToDate))), "{all:?}");
}

#[tokio::test]
async fn migration__failure_leaves_nothing() {
    let test = begun().await;
    let mut psql = test.psql().await;
    psql.execute("CREATE VIEW history_dora AS SELECT 1 AS one").await.unwrap();
    for _ in 0..3 {
        let error = test.db.migrate().await.unwrap_err().to_string();
        assert!(error.contains("migration 2") && error.contains("already exists"), "{error}");
    }
    let added = "SELECT count(*) FROM pg_proc WHERE proname = 'history_outcome'";
    assert_eq!(sqlx::query_scalar::<_, i64>(added).fetch_one(&mut psql).await.unwrap(), 0);
    psql.execute("DROP VIEW history_dora").await.unwrap();
    assert_eq!(test.db.migrate().await.unwrap(), Migrated::UpToDate);
}

#[tokio::test]
async fn migration__breaking_running_replica_rolled_back() {
    let test = TestDb::new().await;
    let mut psql = test.psql().await;
    psql.execute(
        "INSERT INTO replicas (id, process_id, name, version, schema_version, lease_ms)
         VALUES (gen_random_uuid(), gen_random_uuid(), 'panda-0/1', '0.0.9', 1, 600000)",
    )
    .await
    .unwrap();
    replica_with(&test.db, Duration::from_mins(5)).await;
    let contract = "CREATE TABLE of_the_next_version (x int); SELECT schema_version(9998, works_with => 2)";
    let expand = "SELECT schema_version(9997, works_with => 1)";
    let mut migration = psql.begin().await.unwrap();
    migration.execute(expand).await.unwrap();
    let refused = migration.execute(contract).await.unwrap_err().to_string();
    assert!(refused.contains("panda-0/1 (Panda 0.0.9)") && refused.contains("in between"), "{refused}");
    assert!(!refused.contains("test (Panda"), "programs that know it do not block: {refused}");
    migration.rollback().await.unwrap();
    let left = "SELECT to_regclass('of_the_next_version') IS NOT NULL OR EXISTS (SELECT FROM schema_versions WHERE version > 9000)";
    assert!(!sqlx::query_scalar::<_, bool>(left).fetch_one(&mut psql).await.unwrap());
    psql.execute("UPDATE replicas SET heartbeat_at = clock_timestamp() - interval '1 day' WHERE name = 'panda-0/1'")
        .await
        .unwrap();
    psql.execute(contract).await.expect("a silent one blocks no other");
}

#[tokio::test]
async fn migration__compatible_versions_declared() {
    let test = TestDb::new().await;
    let mut psql = test.psql().await;
    for migration in ALL.iter() {
        let sql = migration.sql.as_str();
        let last = sql.trim_end().rsplit('\n').next().unwrap();
        let call = format!("SELECT schema_version({}, works_with => ", migration.version);
        assert!(last.starts_with(&call) && last.ends_with(");"), "{} should end with {call}…);", migration.version);
        let said = "SELECT works_with FROM schema_versions WHERE version = $1";
        let said: i64 = sqlx::query_scalar(said).bind(migration.version).fetch_one(&mut psql).await.unwrap();
        let newest = if migration.version <= FIRST_RELEASE { migration.version } else { migration.version - 1 };
        assert!(said <= newest, "{}: the previous version must work with it", migration.version);
    }
    assert_eq!(known(), ALL.iter().map(|migration| migration.version).max().unwrap());
    let registered = replica_with(&test.db, Duration::from_mins(1)).await;
    let knows = format!("SELECT schema_version FROM replicas WHERE id = '{registered}'");
    assert_eq!(sqlx::query_scalar::<_, i64>(AssertSqlSafe(knows)).fetch_one(&mut psql).await.unwrap(), known());
}
