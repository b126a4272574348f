//! A thousand deployments against one bucket of AWS.

use std::time::{Duration, Instant};

use panda_benches::figures::{line, number, seconds};
use panda_benches::postgres::{Server, statistics_arrived, transactions};
use panda_benches::process::Panda;
use panda_benches::rows;
use panda_benches::sandbox::{SandboxProcess, following};
use panda_sandbox::{Faults, aws_quotas};
use serde_json::json;

const HISTORY: &str = "states:GetExecutionHistory";
/// Calls per second that Panda takes of AWS's 20.
const USABLE: f64 = 18.0;

pub async fn measure(server: &Server) {
    let watched = seconds("PANDA_BENCH_SECONDS", 240);
    let running: usize = number("PANDA_BENCH_DEPLOYMENTS", 1_000);
    let database = server.database().await;
    let sandbox = SandboxProcess::start();
    let arns = sandbox.executions(running).await;
    sandbox.faults(&Faults { quotas: aws_quotas(), ..Faults::default() }).await;
    rows::place(&database.db, running, |n| following(&arns[n])).await;
    database.settle().await;
    let (mut options, variables) = sandbox.with_quotas();
    // Together the replicas have just enough capacity, so that each drives half.
    options.push(format!("--max-deployments={}", running.div_ceil(2)));
    let replicas = [
        Panda::start_with(&database.url, &options, &variables).await,
        Panda::start_with(&database.url, &options, &variables).await,
    ];
    let mut look = database.look().await;
    let fair = running as f64 / USABLE;
    // Every deployment has had its first poll, and the bucket is empty.
    let started = Instant::now();
    while polled(&mut look).await < i64::try_from(running).unwrap() {
        assert!(started.elapsed().as_secs_f64() < 4.0 * fair + 60.0, "not every deployment was polled");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    statistics_arrived().await;
    sandbox.forget_gaps().await;
    let statements = transactions(&mut look).await;
    let before = sandbox.effects().await.calls.get(HISTORY).copied().unwrap_or_default();
    let cpu = replicas.each_ref().map(Panda::cpu_seconds);
    let window = Instant::now();
    tokio::time::sleep(watched).await;
    let seconds = window.elapsed().as_secs_f64();
    let cores: f64 = replicas.iter().zip(cpu).map(|(panda, before)| (panda.cpu_seconds() - before) / seconds).sum();
    let statements = (transactions(&mut look).await - statements) as f64 / seconds;
    let after = sandbox.effects().await.calls[HISTORY];
    let calls = after.received - before.received;
    // Of the whole run, the burst of its start included.
    let throttled = f64::from(after.throttled) / f64::from(after.received) * 100.0;
    let oldest = sandbox.gaps().await.keys().last().copied().unwrap_or_default() as f64 / 1_000.0;
    let failed: i64 = sqlx::query_scalar("SELECT count(*) FROM deployments WHERE status = 'FAILED'")
        .fetch_one(&mut look)
        .await
        .unwrap();
    line(&format!("{running} deployments: calls"), format!("{:.1}/s", f64::from(calls) / seconds), "20/s");
    line(&format!("{running} deployments: throttled calls"), format!("{throttled:.2} %"), "1 %");
    line(&format!("{running} deployments: failed"), failed, "0");
    line(
        &format!("{running} deployments: longest time between two polls"),
        format!("{oldest:.1} s"),
        &format!("{:.0} s", 2.0 * fair),
    );
    line(&format!("{running} deployments: two replicas"), format!("{cores:.3} cores"), "");
    line(&format!("{running} deployments: statements of both"), format!("{statements:.1}/s"), "");
    println!(
        "{}",
        json!({
            "name": "many", "deployments": running, "watched_s": seconds, "calls_per_second": f64::from(calls) / seconds,
            "throttled_percent": throttled, "failed": failed, "oldest_poll_s": oldest, "fair_share_s": fair, "cores": cores,
            "statements_per_second": statements,
        })
    );
}

async fn polled(look: &mut sqlx::PgConnection) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM deployments WHERE (facts ->> 'last_history_event_id')::bigint > 0")
        .fetch_one(look)
        .await
        .unwrap()
}
