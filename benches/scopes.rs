//! Measures requests with a scoped token over a long history: `make bench-scopes`.
//!
//! Fills a dedicated, durable Postgres with a million deployments and as many rows of the audit log, of 1,000 repositories, one of which has nine
//! tenths of them (a minute, 3 GB of disk). Then requests the list, `current` and the audit log from the release program: with a token that sees
//! everything, for comparison, and with tokens of the large repository, of small ones, of an owner, of a hundred repositories, and of one without any
//! rows. `PANDA_BENCH_DEPLOYMENTS` makes it smaller.

use std::collections::BTreeMap;
use std::time::Instant;

use panda_benches::figures::{head, line, median, number, percentile};
use panda_benches::postgres::{Database, Server};
use panda_benches::process::{Panda, token};
use panda_benches::rows;
use reqwest::StatusCode;
use sqlx::Executor as _;

/// Requests of each kind.
const TIMES: usize = 100;

#[tokio::main]
async fn main() {
    let deployments: usize = number("PANDA_BENCH_DEPLOYMENTS", 1_000_000);
    let server = Server::start().await;
    let database = server.database().await;
    let begun = Instant::now();
    fill(&database, deployments).await;
    eprintln!("filled in {:.0} s", begun.elapsed().as_secs_f64());
    let scopes = [
        ("everything", Vec::new()),
        ("nine tenths of it", of("acme", &["shop".to_owned()])),
        ("a small repository", of("team", &["service-1".to_owned()])),
        ("an owner", of("team", &[])),
        ("100 repositories", of("team", &(0..100).map(|n| format!("service-{n}")).collect::<Vec<_>>())),
        ("nothing", of("none", &["such".to_owned()])),
    ];
    let options = ["--auth=required".to_owned(), "--rate-per-token=0".to_owned()];
    let panda = Panda::start_with(&database.url, &options, &[]).await;
    let mut figures = BTreeMap::new();
    head();
    line("deployments, rows of the audit log", deployments, "");
    for (seen, options) in scopes {
        let token = token(&database.url, "bench", "admin", &options).await;
        for (what, path) in [
            ("list", "/api/v1/deploy?limit=20"),
            ("list, page of 100", "/api/v1/deploy?limit=100"),
            (
                "list, FAILED of a branch before a year",
                "/api/v1/deploy?status=FAILED&branch=main&until=2025-06-01T00:00:00Z",
            ),
            ("list, a branch that is not there", "/api/v1/deploy?branch=none"),
            ("current", "/api/v1/deploy/current"),
            ("audit", "/api/v1/audit?limit=20"),
            ("audit, a subject that is not there", "/api/v1/audit?subject=none"),
            ("audit, an action that is not there", "/api/v1/audit?action=keys.rotate"),
        ] {
            let millis = time(&format!("{}{path}", panda.base), &token).await;
            let (middle, slow) = (median(&millis), percentile(&millis, 0.99));
            line(&format!("{what}; sees {seen}"), format!("{middle:.1} ms, p99 {slow:.1}"), "20 ms");
            figures.insert(format!("{what}; sees {seen}"), middle);
        }
    }
    println!("{}", serde_json::json!({"deployments": deployments, "median_ms": figures}));
}

async fn fill(database: &Database, deployments: usize) {
    // The connections are made by the program's own code, the deployments by SQL.
    rows::create(&database.db, 0).await;
    let sql = format!(
        "SET session_replication_role = replica;
         SET synchronous_commit = off;
         INSERT INTO deployments (id, status, owner, repo, branch, github_connection_id, aws_connection_id, account_id, region, ecr_repository, step,
                                  error_code, error_message, started_at, completed_at, version, next_event_seq)
         SELECT 'dep_' || lpad(n::text, 20, '0'), status, owner, repo, 'main', (SELECT id FROM github_connections LIMIT 1),
                (SELECT id FROM aws_connections LIMIT 1), '111122223333', 'ap-northeast-2', owner || '-' || repo || CASE status WHEN 'RUNNING' THEN n::text ELSE '' END,
                'build_image', CASE status WHEN 'FAILED' THEN 'BUILD_FAILED' END, CASE status WHEN 'FAILED' THEN 'exit code 1' END, at,
                CASE WHEN status <> 'RUNNING' THEN at + interval '5 minutes' END, 24, 51
         FROM (SELECT n, CASE WHEN n % 10 = 0 THEN 'Team' ELSE 'Acme' END AS owner,
                      CASE WHEN n % 10 = 0 THEN 'service-' || n / 10 % 1000 ELSE 'shop' END AS repo,
                      CASE WHEN n > {deployments} - 50 THEN 'RUNNING' WHEN n % 7 = 0 THEN 'FAILED' ELSE 'COMPLETED' END AS status,
                      now() - interval '400 days' * (({deployments} - n)::float8 / {deployments}) AS at
               FROM generate_series(1, {deployments}) AS n) AS drawn;
         INSERT INTO audit (at, request_id, address, subject, kind, role, action, target, owner, repo, result)
         SELECT started_at, md5(id), '192.0.2.7', 'person-' || right(id, 2), 'token', 'deployer', 'deploy', id, owner, repo, 'done'
         FROM deployments ORDER BY started_at"
    );
    database.look().await.execute(sqlx::AssertSqlSafe(sql)).await.unwrap();
    database.settle().await;
}

/// Returns the options that limit a token to an owner, or to some of its repositories.
fn of(owner: &str, repos: &[String]) -> Vec<String> {
    let repos = repos.iter().map(|repo| format!("--repo={repo}"));
    std::iter::once(format!("--owner={owner}")).chain(repos).collect()
}

/// Returns the milliseconds of each answer.
async fn time(url: &str, token: &str) -> Vec<f64> {
    let http = reqwest::Client::new();
    let mut millis = Vec::new();
    for n in 0..=TIMES {
        let begun = Instant::now();
        let answer = http.get(url).bearer_auth(token).send().await.unwrap();
        let status = answer.status();
        answer.bytes().await.unwrap();
        assert!(status.is_success() || status == StatusCode::NOT_FOUND, "{url}: {status}");
        // The first request opens the connection.
        if n > 0 {
            millis.push(begun.elapsed().as_secs_f64() * 1_000.0);
        }
    }
    millis
}
