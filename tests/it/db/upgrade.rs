//! Migrations over data of earlier versions.

use panda::domain::principal::Scope;
use panda::domain::tenant::{aws_tenant, github_tenant};
use pretty_assertions::assert_eq;
use sqlx::migrate::Migrator;
use sqlx::{Executor, PgConnection};

use crate::support::db::TestDb;

static ALL: Migrator = sqlx::migrate!();

/// Recreates the database with the schema of `version`.
async fn at(test: &TestDb, version: i64) -> PgConnection {
    let mut psql = test.psql().await;
    psql.execute("DROP SCHEMA IF EXISTS panda_report CASCADE; DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        .await
        .unwrap();
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
async fn upgrade__shared_target_deployments_queued() {
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

#[tokio::test]
async fn upgrade__duplicate_connections_kept_newest_renewed() {
    let test = TestDb::new().await;
    let mut psql = at(&test, 17).await;
    let rows = "INSERT INTO api_tokens (id, name, token_hash, role, scope) VALUES
            ('tok_all', 'all', sha256('all'), 'admin', NULL), ('tok_acme', 'acme', sha256('acme'), 'deployer', ARRAY['acme/*']);
        INSERT INTO github_connections (id, owner, repo, branch, token, created_at) VALUES
            ('gh_old', 'acme', 'shop', 'main', 't', now() - interval '3 h'), ('gh_new', 'Acme', 'SHOP', 'main', 't', now() - interval '2 h'),
            ('gh_acme', 'acme', 'shop', 'main', 't', now() - interval '1 h'), ('gh_oidc', 'acme', 'shop', 'main', 't', now()),
            ('gh_unknown', 'acme', 'shop', 'main', 't', now());
        INSERT INTO aws_connections (id, region, account_id, access_key_id, secret_access_key, created_at) VALUES
            ('aws_old', 'r', '111122223333', 'AKIA', 's', now() - interval '3 h'), ('aws_new', 'r', '111122223333', 'AKIA', 's', now());
        INSERT INTO aws_connections (id, region, account_id, role_arn, external_id, scope) VALUES
            ('aws_role', 'r', '111122223333', 'arn:x', 'chosen', ARRAY['acme/shop']);
        INSERT INTO audit (subject, kind, token_id, role, action, target, result) VALUES
            ('nobody', 'nobody', NULL, 'admin', 'connect.github', 'gh_old', 'done'),
            ('all', 'token', 'tok_all', 'admin', 'connect.github', 'gh_new', 'done'),
            ('acme', 'token', 'tok_acme', 'deployer', 'connect.github', 'gh_acme', 'done'),
            ('x|y', 'oidc', NULL, 'deployer', 'connect.github', 'gh_oidc', 'done'),
            ('admin', 'admin', NULL, 'admin', 'connect.aws', 'aws_old', 'done'),
            ('admin', 'admin', NULL, 'admin', 'connect.aws', 'aws_new', 'done'),
            ('acme', 'token', 'tok_acme', 'deployer', 'connect.aws', 'aws_role', 'done')";
    psql.execute(rows).await.unwrap();
    run(&mut psql, 18).await;
    let scope = |names: &[&str]| Scope::of(&names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>()).unwrap();
    let sql = "SELECT id, tenant FROM github_connections UNION ALL SELECT id, tenant FROM aws_connections ORDER BY id";
    let after: Vec<(String, Option<String>)> = sqlx::query_as(sql).fetch_all(&mut psql).await.unwrap();
    let expected = [
        ("aws_new", Some(aws_tenant(&Scope::All, &Scope::All))),
        ("aws_old", None),
        ("aws_role", Some(aws_tenant(&scope(&["acme/*"]), &scope(&["acme/shop"])))),
        ("gh_acme", Some(github_tenant(&scope(&["acme/*"])))),
        ("gh_new", Some(github_tenant(&Scope::All))),
        ("gh_oidc", None),
        ("gh_old", None),
        ("gh_unknown", None),
    ];
    assert_eq!(after, expected.map(|(id, tenant)| (id.to_owned(), tenant)));
    let sql = "SELECT count(*) FROM aws_connections WHERE external_id_derived";
    assert_eq!(
        sqlx::query_scalar::<_, i64>(sql).fetch_one(&mut psql).await.unwrap(),
        0,
        "no id of a caller's is taken for ours"
    );
}
