//! Follows 10,000 deployments concurrently: `make bench-capacity`.
//!
//! The release program, with a poll about every 2 s and without quotas, follows 10,000 executions of a sandbox in a separate process. The rows are put at
//! `follow_execution` through the program's own database code; the executions are real ones of the sandbox, running in `EnsureInfra`, and each shows
//! one change, in its first poll. The sandbox measures lateness: the gap between two reads of one history, minus the longest planned wait; it includes the time of
//! Panda's call. `PANDA_BENCH_SECONDS` is the time of observation (60; the published limits are for 600, and 1800 is worth running once),
//! `PANDA_BENCH_DEPLOYMENTS` the number of deployments.

use std::time::{Duration, Instant};

use panda_benches::figures::{head, line, seconds};
use panda_benches::postgres::{Server, row_stats, statistics_arrived};
use panda_benches::process::Panda;
use panda_benches::rows;
use panda_benches::sandbox::{SandboxProcess, following, lateness, serve_if_asked};

#[tokio::main]
async fn main() {
    serve_if_asked().await;
    let watched = seconds("PANDA_BENCH_SECONDS", 60);
    let running: usize =
        std::env::var("PANDA_BENCH_DEPLOYMENTS").ok().map_or(10_000, |text| text.parse().expect("a whole number"));
    let server = Server::start().await;
    let database = server.database().await;
    let sandbox = SandboxProcess::start();
    let arns = sandbox.executions(running).await;
    rows::place(&database.db, running, |n| following(&arns[n])).await;
    database.settle().await;
    let mut look = database.look().await;
    statistics_arrived().await;
    let rows_before = row_stats(&mut look).await;

    let (options, variables) = sandbox.for_panda();
    let panda = Panda::start_with(&database.url, &options, &variables).await;
    let started = Instant::now();
    loop {
        let stepped: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM deployments WHERE coalesce((facts ->> 'last_history_event_id')::bigint, 0) > 0",
        )
        .fetch_one(&mut look)
        .await
        .unwrap();
        if stepped >= i64::try_from(running).unwrap() {
            break;
        }
        assert!(started.elapsed() < Duration::from_mins(3), "{stepped} of {running} stepped after three minutes");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    // The burst of the start is over after some rounds.
    statistics_arrived().await;

    sandbox.forget_gaps().await;
    let before = (panda.cpu_seconds(), server.cpu_seconds(), sandbox.cpu_seconds());
    let window = Instant::now();
    tokio::time::sleep(watched).await;
    let after = (panda.cpu_seconds(), server.cpu_seconds(), sandbox.cpu_seconds());
    let seconds = window.elapsed().as_secs_f64();
    let gaps = sandbox.gaps().await;
    let cores = ((after.0 - before.0) / seconds, (after.1 - before.1) / seconds, (after.2 - before.2) / seconds);
    let (p50, p99) = (lateness(&gaps, 0.5), lateness(&gaps, 0.99));
    let looks = gaps.values().sum::<u64>() as f64 / seconds;
    let rows_after = row_stats(&mut look).await;
    let updates = rows_after.updates - rows_before.updates;
    let hot = (rows_after.hot_updates - rows_before.hot_updates) as f64 / updates.max(1) as f64 * 100.0;
    let dead = rows_after.dead as f64 / rows_after.live.max(1) as f64;
    let rss = panda.resident_mib();

    head();
    line("deployments followed", running, "");
    line("looks at executions", format!("{looks:.0}/s"), "");
    line("lateness of a look, median", format!("{p50} ms"), "");
    line("lateness of a look, 99th percentile", format!("{p99} ms"), "250 ms");
    line("Panda", format!("{:.2} cores", cores.0), "0.6 cores");
    line("Panda's processor time for a look", format!("{:.0} µs", cores.0 / looks * 1e6), "");
    line("Panda's resident memory", format!("{rss:.0} MiB"), "200 MiB");
    line("Postgres", format!("{:.2} cores", cores.1), "0.6 cores");
    line("sandbox (beside the figures)", format!("{:.2} cores", cores.2), "");
    line(&format!("HOT share of {updates} updates, the taking over included"), format!("{hot:.1} %"), "95 %");
    line("dead rows for each live one", format!("{dead:.2}"), "2");
    println!(
        "{}",
        serde_json::json!({
            "deployments": running, "watched_s": seconds, "looks_per_second": looks, "lateness_p50_ms": p50, "lateness_p99_ms": p99,
            "panda_cores": cores.0, "panda_rss_mib": rss, "postgres_cores": cores.1, "sandbox_cores": cores.2, "updates": updates,
            "hot_percent": hot, "dead_per_live": dead,
        })
    );
}
