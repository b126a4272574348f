//! Measures the effect of noisy neighbours: `make bench-neighbours`.
//!
//! One replica of the release program with 16 connections and its default limits follows 2,000 executions of a sandbox, while the bench commits 50
//! events per second, as another replica would, and a viewer reads them. That is measured undisturbed, and again beside (a) 64 reports in flight,
//! abandoned at random, (b) 1,000 replays of a history of 60,000 events, (c) 5,000 requests per second with invalid tokens, and (d) all three. The
//! neighbours have a separate address and token, and run in a process of lower priority. Then two replicas do the same while the database fails over, undisturbed and beside all three.
//! `PANDA_BENCH_SECONDS` is the length of each phase (30); `PANDA_BENCH_PHASES=failover` measures the failovers alone, `one` omits them.
//! With `PANDA_BENCH_FREE_CORE=1`, reports and the neighbours' clients use a separate core ([`cores`]).

mod cores;
mod failover;
mod noise;
mod viewer;

use std::time::{Duration, Instant};

use noise::{Noise, Seen};
use panda_benches::figures::{line, number, percentile, seconds};
use panda_benches::postgres::Server;
use panda_benches::process::{Panda, token};
use panda_benches::rows;
use panda_benches::sandbox::{SandboxProcess, following, lateness, serve_if_asked};
use serde_json::{Value, json};
use sqlx::PgConnection;
use viewer::Watched;

const FOLLOWED: usize = 2_000;

/// Commits of the bench per second.
const COMMITS: u32 = 50;

/// Time for the executions to spread over the polling interval.
const SPREAD: Duration = Duration::from_secs(30);

/// Deployments covered by the reports.
const HISTORY: usize = 20_000;

#[tokio::main]
async fn main() {
    serve_if_asked().await;
    noise::run_if_asked().await;
    cores::share_one();
    let window = seconds("PANDA_BENCH_SECONDS", 30);
    let events = number("PANDA_BENCH_EVENTS", 60_000);
    line("", "lateness p99", "commits/s, stream p99, leases lost, longest wait for a 503");
    let chosen = std::env::var("PANDA_BENCH_PHASES").unwrap_or_default();
    if chosen != "failover" {
        one_replica(window, events).await;
    }
    if chosen != "one" {
        let calm = Box::pin(failover::measure("failover", "", window, events)).await;
        let noisy = Box::pin(failover::measure("failover beside (d)", "abc", window, events)).await;
        println!("{}", json!({"window_s": window.as_secs(), "failovers": [calm, noisy]}));
    }
}

async fn one_replica(window: Duration, events: usize) {
    let server = Server::start().await;
    let database = server.database().await;
    let sandbox = SandboxProcess::start();
    let arns = sandbox.executions(FOLLOWED).await;
    rows::place(&database.db, FOLLOWED, |n| following(&arns[n])).await;
    let mut look = database.look().await;
    let replayed = noise::fill(&database, &mut look, HISTORY, events).await;
    let mut watched = Watched::create(&database.db).await;
    database.settle().await;

    let (calm, noisy) =
        (token(&database.url, "calm", "viewer", &[]).await, token(&database.url, "noisy", "viewer", &[]).await);
    let (options, variables) = options(&sandbox);
    let panda = Panda::start_with(&database.url, &options, &variables).await;
    followed(&mut look).await;
    // Jitter spreads the executions, which all start in step, over the polling interval.
    tokio::time::sleep(SPREAD).await;
    let _reports = cores::free_reports(&database).await;
    let neighbours = Noise { bases: vec![panda.base.clone()], token: noisy, replayed };

    let mut all = Vec::new();
    for (name, kinds) in
        [("undisturbed", ""), ("(a) reports", "a"), ("(b) replays", "b"), ("(c) tokens", "c"), ("(d) all", "abc")]
    {
        let (cpu, postgres) = (panda.cpu_seconds(), server.cpu_seconds());
        let load = neighbours.start(kinds);
        // The burst at the beginning belongs to the phase; gaps of the previous phase do not.
        sandbox.forget_gaps().await;
        let before = leases(&mut look).await;
        let result = watched.append_for(window, COMMITS, &panda.base, &calm).await;
        let gaps = sandbox.gaps().await;
        let neighbours_cpu = load.cpu_seconds();
        let seen = load.stop().await;
        let figures = Figures {
            lateness_p99_ms: lateness(&gaps, 0.99) as f64,
            commits: result.commits,
            stream_p99_ms: percentile(&result.latencies_ms, 0.99),
            leases_lost: leases(&mut look).await - before,
            cores: [panda.cpu_seconds() - cpu, server.cpu_seconds() - postgres, neighbours_cpu]
                .map(|spent| spent / window.as_secs_f64()),
            seen,
        };
        line(name, format!("{:.0} ms", figures.lateness_p99_ms), &figures.rest());
        all.push((name, figures));
        // Effects of the noise end before the next phase.
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
    println!("{}", json!({"window_s": window.as_secs(), "phases": phases(&all)}));
}

/// Options and variables of each replica.
fn options(sandbox: &SandboxProcess) -> (Vec<String>, Vec<(&'static str, String)>) {
    let (mut options, variables) = sandbox.for_panda();
    options.extend(
        ["--auth=required", "--rate-per-client=100", "--max-streams-per-client=2000", "--database-max-connections=16"]
            .map(str::to_owned),
    );
    (options, variables)
}

/// Results of one phase.
struct Figures {
    lateness_p99_ms: f64,
    commits: f64,
    stream_p99_ms: f64,
    leases_lost: i64,
    /// Processor cores of the replica, of Postgres and of the neighbours' clients.
    cores: [f64; 3],
    seen: Seen,
}

impl Figures {
    fn rest(&self) -> String {
        format!(
            "{:.1}/s, {:.1} ms, {}, {:.2} s ({} done, {} refused, {} abandoned; cores {:.2}, Postgres {:.2}, neighbours {:.2})",
            self.commits,
            self.stream_p99_ms,
            self.leases_lost,
            self.seen.longest_refusal.as_secs_f64(),
            self.seen.done,
            self.seen.refused,
            self.seen.abandoned,
            self.cores[0],
            self.cores[1],
            self.cores[2]
        )
    }
}

fn phases(all: &[(&str, Figures)]) -> Vec<Value> {
    let Some((_, calm)) = all.first() else { return Vec::new() };
    all.iter()
        .map(|(name, figures)| {
            json!({
                "name": name, "lateness_p99_ms": figures.lateness_p99_ms, "commits_per_second": figures.commits,
                "stream_p99_ms": figures.stream_p99_ms, "leases_lost": figures.leases_lost,
                "lateness_ratio": figures.lateness_p99_ms / calm.lateness_p99_ms,
                "commits_ratio": calm.commits / figures.commits, "stream_ratio": figures.stream_p99_ms / calm.stream_p99_ms,
                "longest_refusal_s": figures.seen.longest_refusal.as_secs_f64(), "done": figures.seen.done,
                "refused": figures.seen.refused, "abandoned": figures.seen.abandoned,
            })
        })
        .collect()
}

/// Waits until each execution was polled once: the burst of the start belongs to no phase.
async fn followed(look: &mut PgConnection) {
    let begun = Instant::now();
    loop {
        let sql = "SELECT count(*) FROM deployments WHERE coalesce((facts ->> 'last_history_event_id')::bigint, 0) > 0 AND status = 'RUNNING'";
        let stepped: i64 = sqlx::query_scalar(sql).fetch_one(&mut *look).await.unwrap();
        if stepped >= i64::try_from(FOLLOWED).unwrap() {
            return;
        }
        assert!(begun.elapsed() < Duration::from_mins(2), "{stepped} of {FOLLOWED} followed");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Counts the leases of the server: each additional one follows a lost one.
async fn leases(look: &mut PgConnection) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM replicas WHERE name <> 'bench'").fetch_one(look).await.unwrap()
}
