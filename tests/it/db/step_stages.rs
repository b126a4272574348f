//! The stages of steps in the database follow the program's list of steps.

use panda::steps::Step;
use pretty_assertions::assert_eq;
use sqlx::Executor as _;

use crate::support::db::TestDb;

type Row = (String, String, Option<String>);

async fn stored(test: &TestDb) -> Vec<Row> {
    let sql = "SELECT step, stage, later_stage FROM step_stages ORDER BY step";
    sqlx::query_as(sql).fetch_all(&mut test.psql().await).await.unwrap()
}

#[tokio::test]
async fn step_stages__match_list_of_steps() {
    let mut expected: Vec<Row> = Step::stages()
        .iter()
        .map(|own| (own.step.to_owned(), own.stage.to_owned(), own.later_stage.map(str::to_owned)))
        .collect();
    expected.sort();
    assert_eq!(expected.len(), Step::NAMES.len());
    let test = TestDb::new().await;
    assert_eq!(stored(&test).await, expected);
    // A server corrects rows of an earlier version, and keeps those of steps that it does not know.
    let changes = "UPDATE step_stages SET stage = 'Stage 9' WHERE step = 'push_image';
                   DELETE FROM step_stages WHERE step = 'cancel';
                   INSERT INTO step_stages VALUES ('zz_of_another_version', 'Stage 5', NULL)";
    test.psql().await.execute(changes).await.unwrap();
    test.db.store_step_stages(&Step::stages()).await.unwrap();
    expected.push(("zz_of_another_version".to_owned(), "Stage 5".to_owned(), None));
    assert_eq!(stored(&test).await, expected);
}

#[tokio::test]
async fn step_stages__unknown_step_reported_by_name() {
    let test = TestDb::new().await;
    let mut psql = test.psql().await;
    let connections = "INSERT INTO github_connections (id, owner, repo, branch, key_id, wrapped_key, token_encrypted) VALUES ('gh_1', 'acme', 'shop', 'main', 'k', '', '');
        INSERT INTO aws_connections (id, region, account_id, role_arn) VALUES ('aws_1', 'r', '111122223333', 'arn:x');
        INSERT INTO deployments (id, owner, repo, branch, github_connection_id, aws_connection_id, account_id, region, ecr_repository, step)
            VALUES ('dep_1', 'acme', 'shop', 'main', 'gh_1', 'aws_1', '111122223333', 'r', 'acme-shop', 'of_another_version');
        INSERT INTO step_runs (deployment_id, version, attempt, step, replica_id, started_at, ended_at, outcome)
            VALUES ('dep_1', 1, 1, 'of_another_version', gen_random_uuid(), now() - interval '2 s', now() - interval '1 s', 'next')";
    psql.execute(connections).await.unwrap();
    let stages = "SELECT stage FROM panda_report.deployments_v1 UNION ALL SELECT stage FROM panda_report.stages_v1";
    let stages: Vec<String> = sqlx::query_scalar(stages).fetch_all(&mut psql).await.unwrap();
    assert_eq!(stages, ["of_another_version", "of_another_version"]);
}
