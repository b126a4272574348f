//! The DORA figures of deployments at fixed times, calculated manually.

use pretty_assertions::assert_eq;
use sqlx::Executor;

use super::lines;
use crate::support::db::TestDb;

/// Ended rows: id, repository, branch, attempts, code of the error, whether superseded, commit, end.
const ROWS: &str = "
    INSERT INTO github_connections (id, owner, repo, branch, key_id, wrapped_key, token_encrypted) VALUES ('gh_1', 'acme', 'shop', 'main', 'k', '', '');
    INSERT INTO aws_connections (id, region, account_id, role_arn) VALUES ('aws_1', 'r', '111122223333', 'arn:x');
    INSERT INTO deployments (id, status, owner, repo, branch, attempt, error_code, error_message, superseded_by, facts, completed_at,
                             started_at, attempt_started_at, github_connection_id, aws_connection_id, account_id, region,
                             ecr_repository, step)
    SELECT id, CASE WHEN done IS NULL THEN 'RUNNING' WHEN code IS NULL THEN 'COMPLETED' ELSE 'FAILED' END, owner, repo, branch, attempt, code, code,
           newer, jsonb_strip_nulls(jsonb_build_object('committed_at', extract(epoch FROM committed::timestamptz)::bigint,
               'final_service', CASE WHEN done IS NOT NULL AND code IS NULL THEN 'green' END)), done::timestamptz, '2026-01-04T00:00:00Z', '2026-01-04T00:00:00Z',
           'gh_1', 'aws_1', '111122223333', 'r', owner || '-' || repo, 'confirm_switch'
    FROM (VALUES
        ('dep_a1', 'acme', 'shop', 'main', 1, NULL, NULL, '2026-01-05T08:00:00Z', '2026-01-05T10:00:00Z'),
        ('dep_a2', 'acme', 'shop', 'main', 1, 'BUILD_FAILED', NULL, NULL, '2026-01-05T12:00:00Z'),
        ('dep_a3', 'acme', 'shop', 'main', 2, NULL, NULL, '2026-01-05T11:30:00Z', '2026-01-06T00:30:00Z'),
        ('dep_a4', 'acme', 'shop', 'dev', 1, 'CANCELLED', NULL, '2026-01-06T08:00:00Z', '2026-01-06T09:00:00Z'),
        ('dep_a5', 'acme', 'shop', 'main', 1, 'CANCELLED', 'dep_a6', NULL, '2026-01-06T12:00:00Z'),
        ('dep_a6', 'acme', 'shop', 'main', 2, NULL, NULL, '2026-01-06T14:00:00Z', '2026-01-06T15:00:00Z'),
        ('dep_a7', 'acme', 'shop', 'main', 1, NULL, NULL, '2026-01-06T15:00:00Z', NULL),
        ('dep_b1', 'acme', 'web', 'main', 1, 'GREEN_UNHEALTHY', NULL, NULL, '2026-01-06T10:00:00Z'),
        ('dep_c1', 'other', 'api', 'main', 1, NULL, NULL, '2026-01-06T21:00:00Z', '2026-01-06T20:00:00Z'),
        ('dep_c2', 'other', 'api', 'main', 1, NULL, NULL, '2026-02-01T00:00:00+02:00', '2026-02-01T01:00:00+02:00')
    ) AS row (id, owner, repo, branch, attempt, code, newer, committed, done);
    INSERT INTO deployment_attempts (deployment_id, attempt, started_at, ended_at, step, error_code, error_message) VALUES
        ('dep_a3', 1, '2026-01-05T12:30:00Z', '2026-01-05T13:00:00Z', 'follow_execution', 'EXECUTION_FAILED', 'why'),
        ('dep_a6', 1, '2026-01-06T13:00:00Z', '2026-01-06T13:30:00Z', 'cancel', 'CANCELLED', 'why')";

/// Frequency; median and mean lead time; changes, failed ones, rate; restores, median time.
const FIGURES: &str = "deployments, lead_time_median_seconds, lead_time_mean_seconds, changes, failed_changes, round(change_failure_rate::numeric, 3),
                       restores, time_to_restore_median_seconds";

pub async fn filled() -> TestDb {
    let test = TestDb::new().await;
    test.psql().await.execute(ROWS).await.unwrap();
    // The rows were inserted as ended.
    test.db.rebuild_reports().await.unwrap();
    test
}

#[tokio::test]
async fn dora__figures_match_manual_calculation() {
    let test = filled().await;
    let psql = &mut test.psql().await;
    // 5 January: a1 went live after 2 h. a2 failed; a3 failed at first. Nothing was restored.
    // 6 January: a3 went live after 13 h, which restored what a2 broke 12.5 h before; a6, once cancelled, after 1 h; c1's commit is dated after its
    // end, which counts as a lead time of 0. b1 failed. a4 and a5 were cancelled, and a3's failure counted on the day before.
    // 31 January, although the row's time zone is already in February: c2.
    let all = format!("SELECT day, {FIGURES} FROM panda_report.dora_daily_v1 WHERE level = 'all' ORDER BY day");
    assert_eq!(
        lines(psql, &all).await,
        [
            "2026-01-05|1|7200|7200|3|2|0.667|0|",
            "2026-01-06|3|3600|16800|3|1|0.333|1|45000",
            "2026-01-31|1|3600|3600|1|0|0.000|0|",
        ]
    );
    let narrow = format!(
        "SELECT day, level, owner, repo, branch, {FIGURES} FROM panda_report.dora_daily_v1
         WHERE level <> 'all' AND day = '2026-01-06' ORDER BY owner, repo NULLS FIRST, branch NULLS FIRST"
    );
    assert_eq!(
        lines(psql, &narrow).await,
        [
            "2026-01-06|owner|acme|||2|25200|25200|2|1|0.500|1|45000",
            "2026-01-06|repository|acme|shop||2|25200|25200|1|0|0.000|1|45000",
            "2026-01-06|branch|acme|shop|main|2|25200|25200|1|0|0.000|1|45000",
            "2026-01-06|repository|acme|web||0|||1|1|1.000|0|",
            "2026-01-06|branch|acme|web|main|0|||1|1|1.000|0|",
            "2026-01-06|owner|other|||1|0|0|1|0|0.000|0|",
            "2026-01-06|repository|other|api||1|0|0|1|0|0.000|0|",
            "2026-01-06|branch|other|api|main|1|0|0|1|0|0.000|0|",
        ]
    );
    let monthly = format!("SELECT month, {FIGURES} FROM panda_report.dora_monthly_v1 WHERE level = 'all'");
    assert_eq!(lines(psql, &monthly).await, ["2026-01-01|5|3600|12240|7|3|0.429|1|45000"]);
}

#[tokio::test]
async fn dora__rolled_back_after_switch_is_failed_change() {
    let test = filled().await;
    let psql = &mut test.psql().await;
    let back = "UPDATE deployments SET status = 'FAILED', error_code = 'ROLLED_BACK_AFTER_SWITCH', error_message = 'why',
                    completed_at = '2026-01-05T11:00:00Z', facts = facts || '{\"final_service\": \"blue\"}' WHERE id = 'dep_a1'";
    psql.execute(back).await.unwrap();
    // a1 is no deployment any more, and what a3 restored was broken since a1 was rolled back, 13.5 h before.
    let all = format!("SELECT day, {FIGURES} FROM panda_report.dora_daily_v1 WHERE level = 'all' ORDER BY day LIMIT 2");
    assert_eq!(lines(psql, &all).await, ["2026-01-05|0|||3|3|1.000|0|", "2026-01-06|3|3600|16800|3|1|0.333|1|48600"]);
    let failure = "SELECT deployment_id, outcome, stage FROM panda_report.failures_v1 WHERE error_code = 'ROLLED_BACK_AFTER_SWITCH'";
    assert_eq!(lines(psql, failure).await, ["dep_a1|failed|Stage 4"]);
}

#[tokio::test]
async fn dora__unchanged_by_archiving() {
    let test = filled().await;
    let psql = &mut test.psql().await;
    let views = ["dora_daily_v1", "dora_monthly_v1", "failures_v1", "throughput_v1", "queue_v1", "approvals_v1"];
    let mut before = Vec::new();
    for view in views {
        before
            .push(lines(psql, &format!("SELECT v FROM (SELECT * FROM panda_report.{view}) v ORDER BY v::text")).await);
    }
    let ids: Vec<String> = ["a1", "a2", "a3", "a4", "b1", "c2"].map(|id| format!("dep_{id}")).to_vec();
    assert_eq!(test.db.archive_deployments(&ids).await.unwrap(), ids);
    for (view, before) in views.iter().zip(before) {
        let after = lines(psql, &format!("SELECT v FROM (SELECT * FROM panda_report.{view}) v ORDER BY v::text")).await;
        assert_eq!(after, before, "{view}");
    }
}
