//! Rate of event removal: alone, and while the program follows thousands of executions.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::PgConnection;

use panda_benches::figures::line;
use panda_benches::postgres::{Database, statistics_arrived};
use panda_benches::process::Panda;
use panda_benches::rows;
use panda_benches::sandbox::{SandboxProcess, following, lateness};

/// Measures the removal of build lines, which are two thirds of all events, and then of the other events.
pub async fn measure(database: &Database, followed: usize, watched: Duration) -> Value {
    let mut look = database.look().await;
    let panda = Panda::start(&database.url).await;
    let alone = remove(&panda, "build_lines").await;
    line("build lines removed", alone.removed, "");
    line("  a second", format!("{:.0}", alone.rate()), "20000");
    drop(panda);
    let (before, dead) = events_table(&mut look).await;
    line("  dead rows of the table afterwards", dead, "");
    database.settle().await;
    let (after, _) = events_table(&mut look).await;
    line("  table and indexes, MiB, before and after a vacuum", format!("{before:.0}, {after:.0}"), "");

    let sandbox = SandboxProcess::start();
    let arns = sandbox.executions(followed).await;
    rows::place(&database.db, followed, |n| following(&arns[n])).await;
    database.settle().await;
    let (options, variables) = sandbox.for_panda();
    let panda = Panda::start_with(&database.url, &options, &variables).await;
    all_followed(&mut look, followed).await;
    sandbox.forget_gaps().await;
    tokio::time::sleep(watched).await;
    let quiet = lateness(&sandbox.gaps().await, 0.99);
    sandbox.forget_gaps().await;
    let loaded = remove(&panda, "events").await;
    let busy = lateness(&sandbox.gaps().await, 0.99);
    line(&format!("other events removed while {followed} are followed"), loaded.removed, "");
    line("  a second", format!("{:.0}", loaded.rate()), "20000");
    line("  in", format!("{:.1} s", loaded.seconds), "");
    line("  lateness of a look before, 99th percentile", format!("{quiet} ms"), "");
    line("  lateness of a look meanwhile, 99th percentile", format!("{busy} ms"), "250 ms");
    json!({
        "build_lines": alone.removed, "build_lines_per_second": alone.rate(), "table_mib": before, "table_after_vacuum_mib": after,
        "followed": followed, "events": loaded.removed, "events_per_second": loaded.rate(), "lateness_p99_ms": busy,
        "lateness_before_p99_ms": quiet,
    })
}

struct Removed {
    removed: i64,
    seconds: f64,
}

impl Removed {
    fn rate(&self) -> f64 {
        self.removed as f64 / self.seconds.max(0.001)
    }
}

/// Runs a removal as an admin requests it; times are by the database's clock.
async fn remove(panda: &Panda, kind: &str) -> Removed {
    let http = reqwest::Client::new();
    let runs = format!("{}/api/v1/maintenance/runs", panda.base);
    let asked: Value = http
        .post(&runs)
        .json(&json!({"kind": kind}))
        .send()
        .await
        .unwrap()
        .error_for_status()
        .unwrap()
        .json()
        .await
        .unwrap();
    let id = asked["data"]["runs"][0].as_i64().unwrap();
    let begun = Instant::now();
    loop {
        let page: Value = http.get(format!("{runs}?id={id}")).send().await.unwrap().json().await.unwrap();
        let run = &page["data"]["runs"][0];
        if run["endedAt"].is_string() {
            assert_eq!(run["state"], "done", "{run}");
            let time = |name: &str| chrono::DateTime::parse_from_rfc3339(run[name].as_str().unwrap()).unwrap();
            let seconds = (time("endedAt") - time("startedAt")).as_seconds_f64();
            return Removed { removed: run["removed"].as_i64().unwrap(), seconds };
        }
        assert!(begun.elapsed() < Duration::from_mins(30), "{run}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Returns the size of the events with their indexes in MiB, and the number of dead rows.
async fn events_table(look: &mut PgConnection) -> (f64, i64) {
    statistics_arrived().await;
    let (bytes, dead): (i64, i64) = sqlx::query_as(
        "SELECT pg_total_relation_size(relid), n_dead_tup FROM pg_stat_user_tables WHERE relname = 'deployment_events'",
    )
    .fetch_one(look)
    .await
    .unwrap();
    (bytes as f64 / 1_048_576.0, dead)
}

/// Waits until each execution was polled, and the burst of the start is over.
async fn all_followed(look: &mut PgConnection, followed: usize) {
    let begun = Instant::now();
    loop {
        let stepped: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM deployments WHERE status = 'RUNNING' AND coalesce((facts ->> 'last_history_event_id')::bigint, 0) > 0",
        )
        .fetch_one(&mut *look)
        .await
        .unwrap();
        if stepped >= i64::try_from(followed).unwrap() {
            break;
        }
        assert!(begun.elapsed() < Duration::from_mins(5), "{stepped} of {followed} stepped");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    statistics_arrived().await;
}
