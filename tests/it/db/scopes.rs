//! Lists and the audit log return the right rows for any scope, and read no others.

use chrono::{DateTime, Utc};
use panda::db::audit::AuditFilter;
use panda::db::deployments::ListFilter;
use panda::domain::audit::Action;
use panda::domain::deployment::Status;
use panda::domain::principal::Scope;
use pretty_assertions::assert_eq;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Executor as _, PgConnection, Row as _};

use crate::support::db::TestDb;

/// Fills `deployments` and `audit` as `draw` says: columns owner, repo, branch, status, at, subject, action of a row `n`.
async fn fill(psql: &mut PgConnection, rows: usize, draw: &str) {
    let sql = format!(
        "INSERT INTO github_connections (id, owner, repo, branch, key_id, wrapped_key, token_encrypted) VALUES ('gh_1', 'acme', 'shop', 'main', 'k', '', '');
         INSERT INTO aws_connections (id, region, account_id, role_arn) VALUES ('aws_1', 'r', '1', 'a');
         SELECT setseed(0.5);
         CREATE TEMPORARY TABLE drawn AS SELECT n, d.* FROM generate_series(1, {rows}) AS n, LATERAL ({draw}) AS d;
         INSERT INTO deployments (id, status, owner, repo, branch, github_connection_id, aws_connection_id, account_id, region, ecr_repository, step,
                                  error_code, started_at, completed_at)
         SELECT 'dep_' || n, status, owner, repo, branch, 'gh_1', 'aws_1', '1', 'r', 'r' || n, 'build_image',
                CASE status WHEN 'FAILED' THEN 'X' END, at, CASE WHEN status IN ('COMPLETED', 'FAILED') THEN at END FROM drawn;
         INSERT INTO audit (at, subject, kind, role, action, target, owner, repo, result)
         SELECT at, subject, 'token', 'admin', action, 'dep_' || n % 50, CASE WHEN n % 9 <> 0 THEN owner END, CASE WHEN n % 9 <> 0 THEN repo END, 'done'
         FROM drawn;
         ANALYZE deployments, audit"
    );
    psql.execute(AssertSqlSafe(sql)).await.unwrap();
}

/// Mixed data, with equal times.
const MIXED: &str = "SELECT (ARRAY ['acme', 'Acme', 'toys', 'other'])[1 + floor(random() * 4 + n * 0)] AS owner,
    (ARRAY ['shop', 'Shop', 'blog', 'robot'])[1 + floor(random() * 4 + n * 0)] AS repo, (ARRAY ['main', 'next'])[1 + floor(random() * 2 + n * 0)] AS branch,
    (ARRAY ['RUNNING', 'DEPLOYMENT_READY', 'COMPLETED', 'FAILED'])[1 + floor(random() * 4 + n * 0)] AS status,
    timestamptz '2026-01-01 00:00:00Z' + floor(random() * 60 + n * 0) * interval '1 minute' AS at,
    (ARRAY ['alice', 'bob'])[1 + floor(random() * 2 + n * 0)] AS subject, (ARRAY ['deploy', 'switch', 'cancel'])[1 + floor(random() * 3 + n * 0)] AS action";

fn scope(random: &mut StdRng) -> Scope {
    let scopes: [&[&str]; 7] = [
        &[],
        &["acme/shop"],
        &["acme/*"],
        &["acme/*", "acme/shop", "toys/robot"],
        &["acme/blog", "acme/shop", "toys/*"],
        &["none/such"],
        &["acme/*", "other/*", "toys/*"],
    ];
    let names = scopes.choose(random).unwrap();
    if names.is_empty() {
        return Scope::All;
    }
    Scope::of(&names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>()).unwrap()
}

fn minute(random: &mut StdRng) -> Option<DateTime<Utc>> {
    let begin: DateTime<Utc> = "2026-01-01T00:00:00Z".parse().unwrap();
    random.random_bool(0.3).then(|| begin + chrono::Duration::minutes(random.random_range(0..60)))
}

fn some<T: Clone>(random: &mut StdRng, of: &[T]) -> Option<T> {
    random.random_bool(0.4).then(|| of.choose(random).unwrap().clone())
}

#[tokio::test]
async fn scope_keys__pages_match_plain_query() {
    let db = TestDb::new().await;
    let mut psql = db.psql().await;
    fill(&mut psql, 700, MIXED).await;
    let mut random = StdRng::seed_from_u64(15);
    let names = |list: &[&str]| list.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    for round in 0..300 {
        let scope = scope(&mut random);
        let statuses: Vec<Status> =
            (0..random.random_range(0..3)).map(|_| *Status::ALL.choose(&mut random).unwrap()).collect();
        let mut filter = ListFilter {
            statuses,
            owner: some(&mut random, &names(&["acme", "ACME", "toys", "none"])),
            repo: some(&mut random, &names(&["shop", "SHOP", "blog", "none"])),
            branch: some(&mut random, &names(&["main", "next", "none"])),
            since: minute(&mut random),
            until: minute(&mut random),
            before: None,
            limit: random.random_range(1..60),
        };
        let plain = "SELECT id FROM deployments
             WHERE (cardinality($1::text[]) = 0 OR status = ANY ($1)) AND ($2::text IS NULL OR lower(owner) = lower($2))
               AND ($3::text IS NULL OR lower(repo) = lower($3)) AND ($4::text IS NULL OR branch = $4)
               AND ($5::timestamptz IS NULL OR started_at >= $5) AND ($6::timestamptz IS NULL OR started_at < $6)
               AND ($7::text[] IS NULL OR lower(owner) || '/*' = ANY ($7) OR lower(owner) || '/' || lower(repo) = ANY ($7))
             ORDER BY started_at DESC, id DESC";
        let expected: Vec<String> = sqlx::query_scalar(plain)
            .bind(filter.statuses.iter().map(|status| status.as_str()).collect::<Vec<_>>())
            .bind(&filter.owner)
            .bind(&filter.repo)
            .bind(&filter.branch)
            .bind(filter.since)
            .bind(filter.until)
            .bind(scope.sql())
            .fetch_all(&mut psql)
            .await
            .unwrap();
        let mut listed = Vec::new();
        loop {
            let page = db.db.list_deployments(&scope, &filter).await.unwrap();
            let Some(last) = page.last() else { break };
            assert!(page.len() <= usize::try_from(filter.limit).unwrap());
            filter.before = Some((last.started_at, last.id.clone()));
            listed.extend(page.into_iter().map(|row| row.id));
        }
        assert_eq!(listed, expected, "{round}: {scope} {filter:?}");
    }
    let current = db.db.current_deployment(&Scope::of(&names(&["toys/*"])).unwrap()).await.unwrap().unwrap();
    assert!(current.owner == "toys" && ["RUNNING", "DEPLOYMENT_READY"].contains(&current.status.as_str()));
    assert!(db.db.current_deployment(&Scope::of(&names(&["none/such"])).unwrap()).await.unwrap().is_none());
}

#[tokio::test]
async fn scope_keys__audit_pages_match_plain_query() {
    let db = TestDb::new().await;
    let mut psql = db.psql().await;
    fill(&mut psql, 700, MIXED).await;
    let mut random = StdRng::seed_from_u64(16);
    let names = |list: &[&str]| list.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    for round in 0..300 {
        let scope = scope(&mut random);
        let mut filter = AuditFilter {
            subject: some(&mut random, &names(&["alice", "bob", "none"])),
            action: some(&mut random, &[Action::Deploy, Action::Switch, Action::Retry]),
            target: some(&mut random, &names(&["dep_1", "dep_7", "none"])),
            since: minute(&mut random),
            until: minute(&mut random),
            before: None,
            limit: random.random_range(1..60),
        };
        let plain = "SELECT id FROM audit
             WHERE ($1::text IS NULL OR subject = $1) AND ($2::text IS NULL OR action = $2) AND ($3::text IS NULL OR target = $3)
               AND ($4::timestamptz IS NULL OR at >= $4) AND ($5::timestamptz IS NULL OR at < $5)
               AND ($6::text[] IS NULL OR lower(owner) || '/*' = ANY ($6) OR lower(owner) || '/' || lower(repo) = ANY ($6))
             ORDER BY at DESC, id DESC";
        let expected: Vec<i64> = sqlx::query_scalar(plain)
            .bind(&filter.subject)
            .bind(filter.action.map(Action::as_str))
            .bind(&filter.target)
            .bind(filter.since)
            .bind(filter.until)
            .bind(scope.sql())
            .fetch_all(&mut psql)
            .await
            .unwrap();
        let mut listed = Vec::new();
        loop {
            let page = db.db.audit(&scope, &filter).await.unwrap();
            let Some(last) = page.last() else { break };
            filter.before = Some(last.id);
            listed.extend(page.into_iter().map(|row| row.id));
        }
        assert_eq!(listed, expected, "{round}: {scope} {filter:?}");
    }
}

/// The program's own statements that read pages of `table`.
fn statements(table: &str) -> Vec<String> {
    let mut statements = Vec::new();
    for file in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.sqlx")).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        let query = serde_json::from_str::<Value>(&text).unwrap()["query"].as_str().unwrap().to_owned();
        if query.contains(&format!("FROM {table}")) && query.contains("LIMIT (SELECT") {
            statements.push(query);
        }
    }
    statements
}

/// Keys for a statement's parameters: existing ones, then absent ones.
fn keys(statement: &str) -> [[String; 2]; 2] {
    let has = |part: &str| statement.contains(part);
    let ends = match () {
        () if has("|| branch") => [" COMPLETED main", " COMPLETED none"],
        () if has("|| ' ' || status") => [" COMPLETED", " FAILED"],
        () if has("|| ' ' || subject") => [" alice", " none"],
        () if has("|| ' ' || action") => [" deploy", " none"],
        () if has("status = key") => return ["COMPLETED", "FAILED"].map(|key| [key.to_owned(), key.to_owned()]),
        () if has("target = key") => return ["dep_1", "none"].map(|key| [key.to_owned(), key.to_owned()]),
        () if has("subject = key") => return ["alice", "none"].map(|key| [key.to_owned(), key.to_owned()]),
        () if has("action = key") => return ["deploy", "none"].map(|key| [key.to_owned(), key.to_owned()]),
        () => ["", ""],
    };
    let there = [format!("acme/shop{}", ends[0]), format!("acme/*{}", ends[0])];
    let missing = [format!("none/such{}", ends[0]), format!("acme/*{}", ends[1])];
    [there, if ends[0] == ends[1] { [missing[0].clone(), "none/*".to_owned()] } else { missing }]
}

/// Nodes of a plan that read a whole table.
fn scans(plan: &Value, table: &str, found: &mut Vec<String>) {
    if plan["Relation Name"] == table && plan["Node Type"].as_str().unwrap().contains("Seq Scan") {
        found.push(plan["Node Type"].as_str().unwrap().to_owned());
    }
    for part in plan["Plans"].as_array().into_iter().flatten() {
        scans(part, table, found);
    }
}

/// One repository, one status, one subject: the planner knows that every row has the same key.
const ONE: &str = "SELECT 'Acme' AS owner, 'shop' AS repo, 'main' AS branch, 'COMPLETED' AS status,
    timestamptz '2026-01-01 00:00:00Z' + n * interval '1 minute' AS at, 'alice' AS subject, 'deploy' AS action";

/// Nearly all keys have one row and one key has half of the rows: the planner assumes about one row per key.
const SKEWED: &str = "SELECT CASE WHEN n % 2 = 0 THEN 'Acme' ELSE 'team-' || n END AS owner, CASE WHEN n % 2 = 0 THEN 'shop' ELSE 'repo-' || n END AS repo,
    CASE WHEN n % 2 = 0 THEN 'main' ELSE 'branch-' || n END AS branch, 'COMPLETED' AS status,
    timestamptz '2026-01-01 00:00:00Z' + n * interval '1 minute' AS at, CASE WHEN n % 2 = 0 THEN 'alice' ELSE 'person-' || n END AS subject,
    CASE WHEN n % 2 = 0 THEN 'deploy' ELSE 'action-' || n END AS action";

#[tokio::test]
async fn scope_keys__no_statement_reads_unneeded_rows() {
    for draw in [ONE, SKEWED] {
        let db = TestDb::new().await;
        let mut psql = db.psql().await;
        fill(&mut psql, 20_000, draw).await;
        // As in the program's own sessions.
        psql.execute("SET jit = off").await.unwrap();
        for (table, count) in [("deployments", 3), ("audit", 7)] {
            let statements = statements(table);
            assert_eq!(statements.len(), count, "{table}: {statements:#?}");
            for statement in statements {
                for mode in ["force_custom_plan", "force_generic_plan"] {
                    psql.execute(AssertSqlSafe(format!("SET plan_cache_mode = {mode}"))).await.unwrap();
                    psql.execute(AssertSqlSafe(format!("PREPARE asked AS {statement}"))).await.unwrap();
                    for keys in keys(&statement) {
                        for before in ["NULL", "'2026-01-05'"] {
                            check(&mut psql, table, &statement, &keys, before, mode).await;
                        }
                    }
                    psql.execute("DEALLOCATE asked").await.unwrap();
                }
            }
        }
    }
}

async fn check(psql: &mut PgConnection, table: &str, statement: &str, keys: &[String; 2], before: &str, mode: &str) {
    let mut arguments =
        vec!["NULL".to_owned(), before.to_owned(), "NULL".to_owned(), "NULL".to_owned(), "21".to_owned()];
    let mut last = 6;
    if table == "audit" {
        arguments.extend(["NULL", "NULL", "NULL"].map(ToOwned::to_owned));
        last = 9;
    }
    for (at, argument) in
        ["21".to_owned(), format!("ARRAY ['{}']", keys[0]), format!("ARRAY ['{}']", keys[1])].into_iter().enumerate()
    {
        if statement.contains(&format!("${}", last + at)) {
            arguments.push(argument);
        }
    }
    let sql = format!("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE asked ({})", arguments.join(", "));
    let explained: Value = psql.fetch_one(AssertSqlSafe(sql)).await.unwrap().get(0);
    let plan = &explained[0]["Plan"];
    let mut found = Vec::new();
    scans(plan, table, &mut found);
    let blocks = plan["Shared Hit Blocks"].as_i64().unwrap() + plan["Shared Read Blocks"].as_i64().unwrap();
    assert!(found.is_empty() && blocks < 400, "{blocks} blocks, {mode}, {keys:?}:\n{statement}\n{explained:#}");
}
