//! `updated_at` of the views: a loader that reads what has changed since its last load has every change.

use pretty_assertions::assert_eq;
use sqlx::{AssertSqlSafe, Executor as _, PgConnection};

use super::dora_v2::connected;
use super::lines;

/// A deployment at its beginning.
fn begun(id: &str) -> String {
    format!(
        "INSERT INTO deployments (id, owner, repo, branch, github_connection_id, aws_connection_id, account_id, region, ecr_repository, step)
         VALUES ('{id}', 'acme', 'shop', 'main', 'gh_1', 'aws_1', '111122223333', 'eu-west-1', 'acme-{id}', 'build_image')"
    )
}

/// The greatest `updated_at`, as a literal.
async fn cursor(psql: &mut PgConnection) -> String {
    lines(psql, "SELECT max(updated_at) FROM panda_report.deployments_v1").await.remove(0)
}

/// Deployments whose rows were written after the cursor.
async fn changed(psql: &mut PgConnection, cursor: &str) -> Vec<String> {
    let sql = format!(
        "SELECT deployment_id, status FROM panda_report.deployments_v1 WHERE updated_at > '{cursor}' ORDER BY deployment_id"
    );
    lines(psql, &sql).await
}

#[tokio::test]
async fn updated_at__each_change_is_in_the_next_load() {
    let test = connected().await;
    let psql = &mut test.psql().await;
    for id in ["dep_1", "dep_2", "dep_3"] {
        psql.execute(AssertSqlSafe(begun(id))).await.unwrap();
    }
    assert_eq!(changed(psql, "-infinity").await, ["dep_1|RUNNING", "dep_2|RUNNING", "dep_3|RUNNING"]);
    for (change, expected) in [
        ("step = 'push_image'", "dep_2|RUNNING"),
        (
            "status = 'COMPLETED', completed_at = now(), traffic_moved_at = now(), facts = '{\"final_service\": \"green\"}'",
            "dep_2|COMPLETED",
        ),
        ("facts = facts || '{\"blue_terminated_at\": \"2026-03-01T10:00:00Z\"}'", "dep_2|COMPLETED"),
        ("outcome = 'ok'", "dep_2|COMPLETED"),
        // A clock that was set back does not hide a change.
        ("updated_at = now() - interval '1 day'", "dep_2|COMPLETED"),
    ] {
        let since = cursor(psql).await;
        psql.execute(AssertSqlSafe(format!("UPDATE deployments SET {change} WHERE id = 'dep_2'"))).await.unwrap();
        assert_eq!(changed(psql, &since).await, [expected], "{change}");
    }
    let since = cursor(psql).await;
    test.db.archive_deployments(&["dep_2".to_owned()]).await.unwrap();
    assert_eq!(changed(psql, &since).await, ["dep_2|COMPLETED"]);
}

#[tokio::test]
async fn updated_at__read_from_indexes_and_polls_stay_hot() {
    let test = connected().await;
    let psql = &mut test.psql().await;
    psql.execute(AssertSqlSafe(begun("dep_1"))).await.unwrap();
    let hot = "SELECT pg_stat_get_xact_tuples_updated('deployments'::regclass), pg_stat_get_xact_tuples_hot_updated('deployments'::regclass)";
    psql.execute("BEGIN; UPDATE deployments SET facts = '{\"last_history_event_id\": 7}' WHERE id = 'dep_1'")
        .await
        .unwrap();
    assert_eq!(lines(psql, hot).await, ["1|1"]);
    psql.execute("COMMIT").await.unwrap();
    let finished = "INSERT INTO deployments (id, owner, repo, branch, github_connection_id, aws_connection_id, account_id, region, ecr_repository, step, status, completed_at)
         SELECT 'dep_' || n, 'acme', 'shop', 'main', 'gh_1', 'aws_1', '111122223333', 'eu-west-1', 'acme-shop', 'confirm_switch', 'COMPLETED', now()
         FROM generate_series(10, 3000) AS n";
    psql.execute(finished).await.unwrap();
    // The archive is empty: only a forbidden scan lets an index win there.
    psql.execute("ANALYZE deployments; SET enable_seqscan = off").await.unwrap();
    let sql = "EXPLAIN SELECT * FROM panda_report.deployments_v1 WHERE updated_at > now() - interval '1 second'";
    let plan: Vec<String> = sqlx::query_scalar(sql).fetch_all(&mut *psql).await.unwrap();
    let plan = plan.join("\n");
    for index in ["deployments_settled", "archived_deployments_updated", "deployments_by_"] {
        assert!(plan.contains(index), "{plan}");
    }
    assert!(!plan.contains("Seq Scan on deployments") && !plan.contains("Seq Scan on archived"), "{plan}");
}
