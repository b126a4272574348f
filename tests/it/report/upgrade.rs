//! Documented queries over data that an older version wrote.

use panda::db::reports::REPORTS;
use pretty_assertions::assert_eq;
use sqlx::migrate::Migrator;
use sqlx::{AssertSqlSafe, Executor};

use super::{VIEWS, docs, lines, reporter};
use crate::support::db::TestDb;

static ALL: Migrator = sqlx::migrate!();

/// A database with deployments written by the program of schema version 9, migrated to the present version.
pub async fn brought_up() -> TestDb {
    let test = TestDb::new().await.into_owners();
    let mut psql = test.psql().await;
    psql.execute("DROP SCHEMA panda_report CASCADE; DROP SCHEMA public CASCADE; CREATE SCHEMA public").await.unwrap();
    for migration in ALL.iter() {
        psql.execute(migration.sql.clone()).await.unwrap();
        if migration.version == 9 {
            psql.execute(include_str!("data/version_9.sql")).await.unwrap();
        }
    }
    test
}

#[tokio::test]
async fn report_upgrade__rows_of_older_version_reported() {
    let test = brought_up().await;
    let psql = &mut test.psql().await;
    let deployments = "SELECT outcome, attempts, stage, error_code, superseded_by IS NOT NULL AS newer, lead_time_seconds IS NOT NULL AS lead
                       FROM panda_report.deployments_v1 ORDER BY started_at";
    assert_eq!(
        lines(psql, deployments).await,
        [
            "completed|1|Stage 4||false|true",
            "completed|2|Stage 4||false|true",
            "cancelled|1|Stage 4|CANCELLED|false|false",
            "superseded|1|Stage 4|CANCELLED|true|false",
            "completed|1|Stage 4||false|true",
            "failed|1|Stage 1|BUILD_FAILED|false|false",
        ]
    );
    let stages = "SELECT stage, count(*), bool_and(ended_at >= started_at AND working_seconds <= duration_seconds + 0.001) AS sound,
                         max(waiting_seconds) > 0.1 AS waited
                  FROM panda_report.stages_v1 GROUP BY stage ORDER BY stage";
    assert_eq!(
        lines(psql, stages).await,
        [
            "Cancel|2|true|false",
            "Retry|1|true|false",
            "Stage 1|7|true|false",
            "Stage 2|5|true|false",
            "Stage 3|5|true|false",
            "Stage 4|5|true|true",
            "Step 1|6|true|false",
            "Step 2|6|true|false",
        ]
    );
    let dora =
        "SELECT deployments, changes, failed_changes, restores, round(time_to_restore_median_seconds::numeric, 1)
                FROM panda_report.dora_monthly_v1 WHERE level = 'all'";
    assert_eq!(lines(psql, dora).await, ["3|4|2|1|13.1"]);
    let who = "SELECT action, subject, attempt FROM panda_report.approvals_v1 ORDER BY at";
    let who = lines(psql, who).await;
    let expected = ["switch|1", "retry|2", "switch|2", "cancel|1", "supersede|1", "switch|1"];
    assert_eq!(who, expected.map(|row| row.replace('|', "|nobody|")));
}

#[tokio::test]
async fn report_upgrade__commands_before_audit_have_no_actor() {
    let test = brought_up().await;
    let psql = &mut test.psql().await;
    let sql = "SELECT action, attempt, deployment_id FROM panda_report.approvals_v1 ORDER BY 3, 2, 1";
    let before = lines(psql, sql).await;
    psql.execute("ALTER TABLE audit DISABLE TRIGGER USER; DELETE FROM audit").await.unwrap();
    assert_eq!(lines(psql, sql).await, before);
    assert_eq!(lines(psql, "SELECT count(subject) FROM panda_report.approvals_v1").await, ["0"]);
}

#[tokio::test]
async fn report_upgrade__documented_queries_run_for_reporter() {
    let test = brought_up().await;
    let mut reporter = reporter(&test).await;
    for view in VIEWS {
        reporter.execute(AssertSqlSafe(format!("SELECT * FROM panda_report.{view}"))).await.unwrap();
    }
    let blocks = docs::sql_blocks();
    assert!(blocks.len() >= REPORTS.len(), "{}", blocks.len());
    for sql in blocks {
        if let Err(error) = reporter.fetch_all(AssertSqlSafe(sql.clone())).await {
            panic!("{error}\n{sql}");
        }
    }
}
