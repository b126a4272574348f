//! Measures the stand-still of 5,000 deployments of a killed replica: `make bench-recovery`.
//!
//! A replica (the release program) follows 5,000 executions of a sandbox in a separate process, which show no changes. It is killed (`kill -9`), the
//! executions show their events, and another replica starts immediately. A deployment counts as stepped when the new replica's observations are
//! committed: event, history cursor and state. The time includes the rest of the dead replica's lease (3.5 s long).

use std::time::{Duration, Instant};

use panda_benches::figures::{head, line, median};
use panda_benches::postgres::Server;
use panda_benches::process::Panda;
use panda_benches::rows;
use panda_benches::sandbox::{SandboxProcess, following, serve_if_asked};
use sqlx::PgConnection;

const HELD: i64 = 5_000;
const STARTS: usize = 7;
/// The events of the executions are older than the bench.
const HIDDEN: Duration = Duration::from_hours(24);

#[tokio::main]
async fn main() {
    serve_if_asked().await;
    let server = Server::start().await;
    let database = server.database().await;
    let mut ready = Vec::new();
    for _ in 0..STARTS {
        ready.push(Panda::start(&database.url).await.ready_ms);
    }

    let sandbox = SandboxProcess::start();
    let arns = sandbox.executions(usize::try_from(HELD).unwrap()).await;
    sandbox.history_lag(HIDDEN).await;
    rows::place(&database.db, arns.len(), |n| following(&arns[n])).await;
    database.settle().await;
    let mut look = database.look().await;
    let (options, variables) = sandbox.for_panda();
    let killed = Panda::start_with(&database.url, &options, &variables).await;
    let all_held = "SELECT count(*) FROM deployments WHERE replica_id IS NOT NULL AND waiting_for IS NOT NULL";
    until(&mut look, all_held, HELD, Instant::now()).await;

    drop(killed);
    sandbox.history_lag(Duration::ZERO).await;
    let started = Instant::now();
    let panda = Panda::start_with(&database.url, &options, &variables).await;
    let stepped = "SELECT count(*) FROM deployments WHERE coalesce((facts ->> 'last_history_event_id')::bigint, 0) > 0";
    let first = until(&mut look, stepped, 1, started).await;
    let most = until(&mut look, stepped, HELD * 99 / 100, started).await;
    let all = until(&mut look, stepped, HELD, started).await;
    let cpu = panda.cpu_seconds();

    head();
    line(&format!("start to ready, median of {STARTS}"), format!("{:.0} ms", median(&ready)), "300 ms");
    line(&format!("start to ready, with {HELD} to take over"), format!("{:.0} ms", panda.ready_ms), "300 ms");
    line("start to the first stepped", format!("{first:.2} s"), "");
    line("start to 99 % stepped", format!("{most:.2} s"), "5 s");
    line("start to all stepped", format!("{all:.2} s"), "10 s");
    line("Panda's processor time until then", format!("{cpu:.2} s"), "");
    println!(
        "{}",
        serde_json::json!({
            "held": HELD, "ready_ms": median(&ready), "ready_with_work_ms": panda.ready_ms, "first_stepped_s": first,
            "p99_stepped_s": most, "all_stepped_s": all, "panda_cpu_s": cpu,
        })
    );
}

/// Waits until `query` counts `wanted` and returns the seconds since `started`.
async fn until(look: &mut PgConnection, query: &'static str, wanted: i64, started: Instant) -> f64 {
    loop {
        let seen: i64 = sqlx::query_scalar(query).fetch_one(&mut *look).await.unwrap();
        if seen >= wanted {
            return started.elapsed().as_secs_f64();
        }
        assert!(started.elapsed() < Duration::from_mins(3), "{seen} of {wanted} after three minutes: {query}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
