//! The DORA figures as defined since 2024, of deployments at fixed times, calculated manually.

use pretty_assertions::assert_eq;
use sqlx::{AssertSqlSafe, Executor as _, PgConnection};

use super::lines;
use crate::support::db::TestDb;

const CONNECTIONS: &str = "
    INSERT INTO github_connections (id, owner, repo, branch, key_id, wrapped_key, token_encrypted) VALUES ('gh_1', 'acme', 'shop', 'main', 'k', '', '');
    INSERT INTO aws_connections (id, region, account_id, role_arn) VALUES ('aws_1', 'eu-west-1', '111122223333', 'arn:x')";

/// A database with connections and without deployments.
pub(super) async fn connected() -> TestDb {
    let test = TestDb::new().await;
    test.psql().await.execute(CONNECTIONS).await.unwrap();
    test
}

/// A deployment that was live from `moved` on: requested, then completed, as the program's statements do it.
async fn live(psql: &mut PgConnection, id: &str, repo: &str, kind: &str, commit: (&str, &str), moved: &str) {
    let (sha, committed) = commit;
    let sql = format!(
        "INSERT INTO deployments (id, owner, repo, branch, kind, github_connection_id, aws_connection_id, account_id, region, ecr_repository, step, started_at,
                                  attempt_started_at)
         VALUES ('{id}', 'acme', '{repo}', 'main', '{kind}', 'gh_1', 'aws_1', '111122223333', 'eu-west-1', 'acme-{repo}', 'confirm_switch',
                 '{moved}'::timestamptz - interval '10 minutes', '{moved}'::timestamptz - interval '10 minutes');
         UPDATE deployments SET status = 'COMPLETED', completed_at = '{moved}', traffic_moved_at = '{moved}', facts = jsonb_build_object(
             'commit_sha', '{sha}', 'committed_at', extract(epoch FROM '{committed}'::timestamptz)::bigint, 'final_service', 'green') WHERE id = '{id}'"
    );
    psql.execute(AssertSqlSafe(sql)).await.unwrap();
}

const FIGURES: &str = "deployments, redeployments, changes, lead_time_median_seconds, failed_deployments, round(change_fail_rate::numeric, 3),
                       recoveries, recovery_time_median_seconds, rework_deployments, round(rework_rate::numeric, 3)";

async fn figures(psql: &mut PgConnection) -> Vec<String> {
    lines(
        psql,
        &format!("SELECT month, {FIGURES} FROM panda_report.dora_monthly_v2 WHERE level = 'all' ORDER BY month"),
    )
    .await
}

async fn judged(psql: &mut PgConnection) -> Vec<String> {
    let sql = "SELECT deployment_id, redeployment, change, failed, recovery_seconds, rework FROM panda_report.dora_occurrences_v2 ORDER BY at";
    lines(psql, sql).await
}

#[tokio::test]
async fn dora_v2__same_commit_again_is_no_second_change() {
    let test = connected().await;
    let psql = &mut test.psql().await;
    // Committed 60 days before, deployed three times; the same commit on another target is a change there.
    let commit = ("c1", "2026-01-01T00:00:00Z");
    live(psql, "dep_1", "shop", "planned", commit, "2026-03-02T00:00:00Z").await;
    live(psql, "dep_2", "shop", "planned", commit, "2026-03-03T00:00:00Z").await;
    live(psql, "dep_3", "shop", "planned", commit, "2026-03-04T00:00:00Z").await;
    assert_eq!(figures(psql).await, ["2026-03-01|1|2|1|5184000|0|0.000|0||0|0.000"]);
    live(psql, "dep_4", "web", "planned", commit, "2026-03-04T00:00:00Z").await;
    assert_eq!(figures(psql).await, ["2026-03-01|2|2|2|5270400|0|0.000|0||0|0.000"]);
}

#[tokio::test]
async fn dora_v2__hotfix_and_rollback_fail_the_deployment_before() {
    let test = connected().await;
    let psql = &mut test.psql().await;
    live(psql, "dep_1", "shop", "planned", ("c1", "2026-03-01T10:00:00Z"), "2026-03-01T12:00:00Z").await;
    live(psql, "dep_2", "shop", "planned", ("c2", "2026-03-02T10:00:00Z"), "2026-03-02T14:00:00Z").await;
    live(psql, "dep_3", "shop", "hotfix", ("c3", "2026-03-02T15:30:00Z"), "2026-03-02T16:00:00Z").await;
    // The hotfix failed as well: both have recovered with the rollback.
    live(psql, "dep_4", "shop", "rollback", ("c1", "2026-03-01T10:00:00Z"), "2026-03-02T17:00:00Z").await;
    assert_eq!(
        judged(psql).await,
        [
            "dep_1|false|true|false||false",
            "dep_2|false|true|true|10800|false",
            "dep_3|false|true|true|3600|true",
            "dep_4|false|false|false||true",
        ]
    );
    // Lead times of 2 h, 4 h and 0.5 h; recoveries of 3 h and 1 h.
    assert_eq!(figures(psql).await, ["2026-03-01|4|0|3|7200|2|0.500|2|7200|2|0.500"]);
    let levels = "SELECT level, owner, repo, branch, account_id, region, deployments FROM panda_report.dora_daily_v2 WHERE day = '2026-03-02' ORDER BY level";
    assert_eq!(
        lines(psql, levels).await,
        [
            "account||||111122223333||3",
            "all||||||3",
            "branch|acme|shop|main|||3",
            "owner|acme|||||3",
            "region||||111122223333|eu-west-1|3",
            "repository|acme|shop||||3",
        ]
    );
}

#[tokio::test]
async fn dora_v2__traffic_moved_back_by_aws_is_a_failed_deployment() {
    let test = connected().await;
    let psql = &mut test.psql().await;
    live(psql, "dep_1", "shop", "planned", ("c1", "2026-03-01T10:00:00Z"), "2026-03-01T12:00:00Z").await;
    let back = "UPDATE deployments SET status = 'FAILED', error_code = 'ROLLED_BACK_AFTER_SWITCH', error_message = 'why',
                    completed_at = '2026-03-01T12:05:00Z', facts = facts || '{\"final_service\": \"blue\"}' WHERE id = 'dep_1'";
    psql.execute(back).await.unwrap();
    live(psql, "dep_2", "shop", "planned", ("c2", "2026-03-01T13:00:00Z"), "2026-03-01T14:00:00Z").await;
    assert_eq!(judged(psql).await, ["dep_1|false|true|true|300|false", "dep_2|false|true|false||false"]);
}

#[tokio::test]
async fn dora_v2__failure_before_the_switch_is_no_failed_deployment() {
    let test = connected().await;
    let psql = &mut test.psql().await;
    live(psql, "dep_1", "shop", "planned", ("c1", "2026-03-01T10:00:00Z"), "2026-03-01T12:00:00Z").await;
    live(psql, "dep_2", "shop", "planned", ("c2", "2026-03-01T10:00:00Z"), "2026-03-01T13:00:00Z").await;
    let unhealthy = "UPDATE deployments SET status = 'FAILED', error_code = 'GREEN_UNHEALTHY', error_message = 'why', traffic_moved_at = NULL,
                         completed_at = '2026-03-01T12:30:00Z', facts = facts - 'final_service' WHERE id = 'dep_2'";
    psql.execute(unhealthy).await.unwrap();
    assert_eq!(figures(psql).await, ["2026-03-01|1|0|1|7200|0|0.000|0||0|0.000"]);
    // v1 counts it: it is a share of runs of the pipeline.
    let before = "SELECT changes, failed_changes FROM panda_report.dora_monthly_v1 WHERE level = 'all'";
    assert_eq!(lines(psql, before).await, ["2|1"]);
}
