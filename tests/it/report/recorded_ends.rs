//! `report_attempts`, which reports read, agrees with the rows that it is derived from.

use pretty_assertions::assert_eq;
use sqlx::{AssertSqlSafe, Executor as _, PgConnection};

use super::dora_v2::connected;
use super::lines;

/// The recorded rows, without the time of writing.
async fn recorded(psql: &mut PgConnection) -> Vec<String> {
    lines(psql, "SELECT to_jsonb(a) - 'recorded_at' AS row FROM report_attempts a ORDER BY deployment_id, attempt")
        .await
}

/// A pseudo-random number below `n`; the same sequence in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    fn of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[usize::try_from(self.below(choices.len() as u64)).unwrap()]
    }
}

/// The statements of one deployment's life, with times in minutes after 2026-01-01.
fn life(dice: &mut Dice, n: u64) -> String {
    let (target, kind) = (dice.below(3), dice.of(&["planned", "planned", "planned", "hotfix", "rollback"]));
    let (commit, mut at) = (dice.below(12), 1_000 * n);
    let time = |minutes: u64| format!("'2026-01-01T00:00:00Z'::timestamptz + interval '{minutes} minutes'");
    let mut sql = vec![format!(
        "INSERT INTO deployments (id, owner, repo, branch, kind, github_connection_id, aws_connection_id, account_id, region, ecr_repository, step, policy, requested_labels,
                                  started_at, attempt_started_at)
         VALUES ('dep_{n:04}', 'acme', 'shop', 'main', '{kind}', 'gh_1', 'aws_1', '111122223333', 'r{target}', 'acme-shop', 'build_image',
                 '{{\"labels\": {{\"team\": \"t{target}\"}}}}', CASE {n} % 2 WHEN 0 THEN '{{}}' ELSE '{{\"tier\": \"1\"}}'::jsonb END, {0}, {0});",
        time(at)
    )];
    for attempt in 1..=1 + dice.below(3) {
        if attempt > 1 {
            sql.push(format!(
                "INSERT INTO deployment_attempts (deployment_id, attempt, started_at, ended_at, step, error_code, error_message, facts, traffic_moved_at)
                 SELECT id, attempt, attempt_started_at, completed_at, step, error_code, error_message, facts, traffic_moved_at
                 FROM deployments WHERE id = 'dep_{n:04}';
                 UPDATE deployments SET status = 'RUNNING', attempt = {attempt}, error_code = NULL, error_message = NULL, completed_at = NULL,
                     traffic_moved_at = NULL, facts = facts - 'final_service', attempt_started_at = {} WHERE id = 'dep_{n:04}';",
                time(at)
            ));
        }
        at += 1 + dice.below(90);
        sql.push(format!(
            "INSERT INTO step_runs (deployment_id, version, attempt, step, replica_id, started_at, ended_at, outcome)
             VALUES ('dep_{n:04}', {attempt}, {attempt}, 'build_image', gen_random_uuid(), {}, {}, 'failed');",
            time(at - 1),
            time(at)
        ));
        let outcome = dice.of(&["done", "done", "done", "back", "BUILD_FAILED", "CANCELLED"]);
        if matches!(outcome, "done" | "back") {
            sql.push(format!(
                "UPDATE deployments SET status = 'COMPLETED', completed_at = {0}, traffic_moved_at = {0}, facts = jsonb_build_object(
                     'commit_sha', 'c{commit}', 'committed_at', 1767225600, 'final_service', 'green') WHERE id = 'dep_{n:04}';",
                time(at)
            ));
        }
        at += 1;
        match outcome {
            "done" => break,
            "back" => {
                sql.push(format!(
                    "UPDATE deployments SET status = 'FAILED', error_code = 'ROLLED_BACK_AFTER_SWITCH', error_message = 'why', completed_at = {},
                         facts = facts || '{{\"final_service\": \"blue\"}}' WHERE id = 'dep_{n:04}';",
                    time(at)
                ));
            }
            code => {
                sql.push(format!(
                    "UPDATE deployments SET status = 'FAILED', error_code = '{code}', error_message = 'why', completed_at = {} WHERE id = 'dep_{n:04}';",
                    time(at)
                ));
            }
        }
        at += 1;
    }
    let marked = dice.below(n + 1);
    if dice.below(4) == 0 {
        let outcome = dice.of(&["ok", "failed", "rework"]);
        sql.push(format!("UPDATE deployments SET outcome = '{outcome}' WHERE id = 'dep_{marked:04}';"));
    }
    sql.join("\n")
}

/// The judgements of the recorded rows, computed from the raw rows without any recorded one.
const JUDGED: &str = "
    WITH ended AS (
        SELECT id, attempt, kind, outcome, region, facts ->> 'commit_sha' AS version, traffic_moved_at, completed_at, status FROM deployments
        UNION ALL
        SELECT id, a.attempt, kind, NULL, region, a.facts ->> 'commit_sha', a.traffic_moved_at, a.ended_at, 'FAILED'
        FROM deployment_attempts a JOIN deployments d ON d.id = a.deployment_id
    ), moved AS (
        SELECT *, lead(kind) OVER (PARTITION BY region ORDER BY traffic_moved_at) AS next,
               row_number() OVER (PARTITION BY region, version ORDER BY traffic_moved_at) AS nth
        FROM ended WHERE traffic_moved_at IS NOT NULL
    ), judged AS (
        SELECT *, CASE outcome WHEN 'failed' THEN true WHEN 'ok' THEN false ELSE status = 'FAILED' OR coalesce(next <> 'planned', false) END AS failed FROM moved
    )
    SELECT id, attempt, kind = 'planned' AND nth > 1 AS redeployed, failed, kind <> 'planned' OR coalesce(outcome = 'rework', false) AS rework,
           CASE WHEN failed AND status = 'FAILED' THEN completed_at
                WHEN failed THEN (SELECT min(n.traffic_moved_at) FROM judged n WHERE n.region = j.region AND n.traffic_moved_at > j.traffic_moved_at AND NOT n.failed)
           END AS recovered_at
    FROM judged j ORDER BY id, attempt";

#[tokio::test]
async fn recorded_ends__random_lives_agree_with_raw_rows() {
    let test = connected().await;
    let psql = &mut test.psql().await;
    let mut dice = Dice(20);
    for n in 0..240 {
        psql.execute(AssertSqlSafe(life(&mut dice, n))).await.unwrap();
    }
    let kept = "SELECT deployment_id AS id, attempt, redeployed, failed, rework, recovered_at FROM report_attempts WHERE moved_at IS NOT NULL ORDER BY 1, 2";
    let judged = lines(psql, kept).await;
    assert_eq!(judged, lines(psql, JUDGED).await);
    for flags in ["true|false|false|", "false|true|", "|true|true|"] {
        assert!(judged.iter().any(|row| row.contains(flags)), "no row with {flags}");
    }

    // Rows that were kept up to date are those of a rebuild, also when it is interrupted and rows are damaged.
    let before = recorded(psql).await;
    assert!(before.len() > 300, "{}", before.len());
    psql.execute(
        "UPDATE report_attempts SET failed = NOT failed, stage = 'x'; DELETE FROM report_attempts WHERE attempt = 2",
    )
    .await
    .unwrap();
    assert_eq!(test.db.rebuild_reports().await.unwrap(), 240);
    assert_eq!(recorded(psql).await, before);

    // The archive changes none, and a rebuild from it neither.
    let ids: Vec<String> = (0..240).step_by(2).map(|n| format!("dep_{n:04}")).collect();
    assert_eq!(test.db.archive_deployments(&ids).await.unwrap().len(), 120);
    assert_eq!(recorded(psql).await, before);
    test.db.rebuild_reports().await.unwrap();
    assert_eq!(recorded(psql).await, before);

    // Figures of ended attempts are those of the views that read the raw rows.
    let counts = |view: &str, condition: &str| {
        format!("SELECT count(*), count(DISTINCT deployment_id) FROM panda_report.{view} WHERE {condition}")
    };
    for (narrow, raw) in [
        ("outcome <> 'completed'", "true"),
        ("outcome = 'failed' AND stage = 'Stage 1'", "outcome = 'failed' AND stage = 'Stage 1'"),
    ] {
        assert_eq!(
            lines(psql, &counts("attempts_v1", narrow)).await,
            lines(psql, &counts("failures_v1", raw)).await,
            "{narrow}"
        );
    }
    let by_label = "SELECT label, label_value, sum(deployments + redeployments), sum(failed_deployments) FROM panda_report.dora_daily_v2 WHERE level = 'label' GROUP BY 1, 2 ORDER BY 1, 2";
    let raw = "SELECT k.key, k.value, count(*), count(*) FILTER (WHERE o.failed) FROM panda_report.dora_occurrences_v2 o
               JOIN panda_report.deployments_v1 d USING (deployment_id) CROSS JOIN LATERAL jsonb_each_text(d.labels) k GROUP BY 1, 2 ORDER BY 1, 2";
    let labelled = lines(psql, by_label).await;
    assert_eq!(labelled, lines(psql, raw).await);
    assert_eq!(labelled.len(), 4, "three teams and a tier: {labelled:?}");
    let seconds = "SELECT deployment_id, attempt, round(stage_1_seconds) FROM panda_report.attempts_v1 ORDER BY 1, 2";
    let raw = "SELECT deployment_id, attempt, round(working_seconds) FROM panda_report.stages_v1 WHERE stage = 'Stage 1' ORDER BY 1, 2";
    assert_eq!(lines(psql, seconds).await, lines(psql, raw).await);
}
