//! The sum of connections in docs/postgres.md.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use panda_testing::text;
use tokio::task::JoinSet;

use crate::support::db::TestDb;
use crate::support::panda::Panda;

/// Connections of a replica outside its pools, as the document has them.
const OUTSIDE: i64 = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections__never_more_than_documented() {
    const POOLED: i64 = 10;
    let db = TestDb::new().await;
    let flags = [format!("--database-max-connections={POOLED}"), "--rate-per-client=0".to_owned()];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let server = Panda::builder().on(&db).flags(&flags).process().ready().await;
    let stream = reqwest::get(format!("{}/api/v1/events", server.url)).await.unwrap();
    let mut psql = db.psql().await;
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'panda'";
    let load_ended = Arc::new(AtomicBool::new(false));
    let mut load = JoinSet::new();
    for _ in 0..40 {
        let url = server.url.clone();
        load.spawn(async move {
            for path in ["/api/v1/connections", "/api/v1/deploy", "/readyz", "/api/v1/connections", "/readyz"] {
                drop(reqwest::get(format!("{url}{path}")).await.unwrap());
            }
        });
    }
    let ended = Arc::clone(&load_ended);
    let loading = tokio::spawn(async move {
        load.join_all().await;
        ended.store(true, Ordering::Relaxed);
    });
    let mut most = 0;
    while !load_ended.load(Ordering::Relaxed) {
        let open: i64 = sqlx::query_scalar(sql).fetch_one(&mut psql).await.unwrap();
        most = most.max(open);
    }
    loading.await.unwrap();
    assert!((2..=POOLED + OUTSIDE).contains(&most), "{most}");
    drop(stream);
    let document = text("docs/postgres.md");
    assert!(document.contains(&format!("(PANDA_DATABASE_MAX_CONNECTIONS + {OUTSIDE}) + 1")));
    assert!(document.contains(&format!("2 × 2 × {} + 1 = {}", 16 + OUTSIDE, 2 * 2 * (16 + OUTSIDE) + 1)));
    let sizing = text("docs/operations-sizing.md");
    assert!(sizing.contains(&format!("`2 × replicas × (PANDA_DATABASE_MAX_CONNECTIONS + {OUTSIDE}) + 1`")));
    let (_, table) = sizing.split_once("| replicas | `databaseMaxConnections` |").unwrap();
    let rows = table.lines().skip(2).map_while(|line| line.strip_prefix('|'));
    let rows: Vec<Vec<i64>> =
        rows.map(|row| row.split('|').filter_map(|cell| cell.trim().parse().ok()).collect()).collect();
    assert!(rows.len() >= 4, "{rows:?}");
    for row in rows {
        assert_eq!(row[2], 2 * row[0] * (row[1] + OUTSIDE) + 1, "{row:?}");
    }
}
