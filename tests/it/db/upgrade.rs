//! Migrations over data from before them.

use pretty_assertions::assert_eq;
use sqlx::migrate::Migrator;
use sqlx::{Connection, Executor, PgConnection};

use crate::support::db::TestDb;

static ALL: Migrator = sqlx::migrate!();

/// Takes a database back to the schema of `version`, by building it anew.
async fn at(test: &TestDb, version: i64) -> PgConnection {
    let mut psql = PgConnection::connect(test.url()).await.unwrap();
    psql.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public").await.unwrap();
    for migration in ALL.iter().filter(|migration| migration.version <= version) {
        psql.execute(migration.sql.clone()).await.unwrap();
    }
    psql
}

async fn run(psql: &mut PgConnection, version: i64) {
    let migration = ALL.iter().find(|migration| migration.version == version).unwrap();
    psql.execute(migration.sql.clone()).await.unwrap();
}

#[tokio::test]
async fn unfinished_deployments_that_share_a_target_are_put_in_order_by_the_rule_of_one() {
    let test = TestDb::new().await;
    let mut psql = at(&test, 3).await;
    let rows = "INSERT INTO github_connections (id, owner, repo, branch, token) VALUES ('gh_1', 'acme', 'shop', 'main', 't');
        INSERT INTO aws_connections (id, region, account_id, role_arn) VALUES ('aws_1', 'r', '111122223333', 'arn:x');
        INSERT INTO deployments (id, status, owner, repo, branch, github_connection_id, aws_connection_id, account_id, region,
                                 ecr_repository, step, started_at, replica_id, completed_at, error_code)
        SELECT id, status, 'acme', 'shop', 'main', 'gh_1', 'aws_1', '111122223333', 'r', ecr, 'push_image', now() + n * interval '1 s',
               replica::uuid, CASE status WHEN 'FAILED' THEN now() END, CASE status WHEN 'FAILED' THEN 'INTERNAL' END
        FROM (VALUES (0, 'dep_failed', 'FAILED', 'acme-shop', NULL),
                     (1, 'dep_1', 'DEPLOYMENT_READY', 'acme-shop', NULL),
                     (2, 'dep_2', 'RUNNING', 'acme-shop', '00000000-0000-0000-0000-000000000001'),
                     (3, 'dep_3', 'RUNNING', 'acme-shop', NULL),
                     (4, 'dep_other', 'RUNNING', 'acme-other', NULL)) AS old (n, id, status, ecr, replica)";
    psql.execute(rows).await.unwrap();
    run(&mut psql, 4).await;
    let sql = "SELECT id, queued, active, replica_id IS NOT NULL FROM deployments ORDER BY started_at";
    let after: Vec<(String, bool, bool, bool)> = sqlx::query_as(sql).fetch_all(&mut psql).await.unwrap();
    let expected = [
        ("dep_failed", false, false, false),
        ("dep_1", false, false, false),
        ("dep_2", true, false, false),
        ("dep_3", true, false, false),
        ("dep_other", false, true, false),
    ];
    assert_eq!(after, expected.map(|(id, queued, active, owned)| (id.to_owned(), queued, active, owned)));
}
