//! What noisy neighbours cost: `cargo bench --bench neighbours`.
//!
//! One replica of the release program with 16 connections and its default limits follows 2,000 executions of a sandbox, while the bench commits
//! 50 events a second, as another replica would, and a viewer reads them. That is measured undisturbed, and again beside (a) 64 reports in
//! flight, abandoned at random, (b) 1,000 replays of a history of 60,000 events, (c) 5,000 requests a second with invalid tokens, and (d) all
//! three. The neighbours have an address and a token of their own. `PANDA_BENCH_SECONDS` is the length of each (30).
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::cast_precision_loss,
    reason = "a measurement that fails ends"
)]

#[path = "../support/mod.rs"]
mod support;

mod noise;
mod viewer;

use std::process::Command;
use std::time::{Duration, Instant};

use noise::{Noise, Seen};
use serde_json::{Value, json};
use sqlx::PgConnection;
use support::figures::{line, number, percentile, seconds};
use support::postgres::{Database, Server};
use support::process::Panda;
use support::rows;
use support::sandbox::{SandboxProcess, following, lateness, serve_if_asked};
use viewer::Watched;

/// Executions that are followed.
const FOLLOWED: usize = 2_000;

/// Commits a second of the bench.
const COMMITS: u32 = 50;

/// Deployments that reports are about.
const HISTORY: usize = 20_000;

#[tokio::main]
async fn main() {
    serve_if_asked().await;
    let window = seconds("PANDA_BENCH_SECONDS", 30);
    let long = number("PANDA_BENCH_EVENTS", 60_000);
    let server = Server::start().await;
    let database = server.database().await;
    let sandbox = SandboxProcess::start();
    let arns = sandbox.executions(FOLLOWED).await;
    rows::place(&database.db, FOLLOWED, |n| following(&arns[n])).await;
    let mut look = database.look().await;
    let replayed = noise::fill(&database, &mut look, HISTORY, long).await;
    let mut watched = Watched::create(&database).await;
    database.settle().await;

    let (calm, noisy) = (token(&database, "calm"), token(&database, "noisy"));
    let (mut options, variables) = sandbox.for_panda();
    options.extend(
        ["--auth=required", "--rate-per-client=100", "--max-streams-per-client=2000", "--database-max-connections=16"]
            .map(str::to_owned),
    );
    let panda = Panda::start_with(&database.url, &options, &variables).await;
    followed(&mut look).await;
    let neighbours = Noise { base: panda.base.clone(), token: noisy, replayed };

    line("", "lateness p99", "commits/s, stream p99, leases lost, longest wait for a 503");
    let mut all = Vec::new();
    for (name, kinds) in
        [("undisturbed", ""), ("(a) reports", "a"), ("(b) replays", "b"), ("(c) tokens", "c"), ("(d) all", "abc")]
    {
        let load = neighbours.start(kinds);
        // The crowd of the beginning belongs to it, but the gaps of the phase before do not.
        sandbox.forget_gaps().await;
        let before = leases(&mut look).await;
        let told = watched.append_for(window, COMMITS, &panda.base, &calm).await;
        let gaps = sandbox.gaps().await;
        let seen = load.stop().await;
        let figures = Figures {
            lateness_p99_ms: lateness(&gaps, 0.99) as f64,
            commits: told.commits,
            stream_p99_ms: percentile(&told.latencies_ms, 0.99),
            leases_lost: leases(&mut look).await - before,
            seen,
        };
        line(name, format!("{:.0} ms", figures.lateness_p99_ms), &figures.rest());
        all.push((name, figures));
        // What the noise left behind ends before the next phase.
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
    println!("{}", json!({"window_s": window.as_secs(), "phases": phases(&all)}));
}

/// What one phase showed.
struct Figures {
    lateness_p99_ms: f64,
    commits: f64,
    stream_p99_ms: f64,
    leases_lost: i64,
    seen: Seen,
}

impl Figures {
    fn rest(&self) -> String {
        format!(
            "{:.1}/s, {:.1} ms, {}, {:.2} s ({} done, {} refused, {} abandoned)",
            self.commits,
            self.stream_p99_ms,
            self.leases_lost,
            self.seen.longest_refusal.as_secs_f64(),
            self.seen.done,
            self.seen.refused,
            self.seen.abandoned
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

/// Waits until each execution has been looked at once: the crowd of the start is no part of any phase.
async fn followed(look: &mut PgConnection) {
    let begun = Instant::now();
    loop {
        let sql = "SELECT count(*) FROM deployments WHERE last_history_event_id > 0 AND status = 'RUNNING'";
        let stepped: i64 = sqlx::query_scalar(sql).fetch_one(&mut *look).await.unwrap();
        if stepped >= i64::try_from(FOLLOWED).unwrap() {
            return;
        }
        assert!(begun.elapsed() < Duration::from_mins(2), "{stepped} of {FOLLOWED} followed");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Leases that the server has had: each further one followed one that was lost.
async fn leases(look: &mut PgConnection) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM replicas WHERE name <> 'bench'").fetch_one(look).await.unwrap()
}

/// As an operator makes one.
fn token(database: &Database, name: &str) -> String {
    let made = Command::new(env!("CARGO_BIN_EXE_panda"))
        .args(["token", "create", "--name", name, "--role", "viewer"])
        .env("PANDA_DATABASE_URL", database.url.as_str())
        .output()
        .unwrap();
    let printed = String::from_utf8(made.stdout).unwrap();
    let token = printed.split_whitespace().find(|word| word.starts_with("panda_"));
    token.unwrap_or_else(|| panic!("no token: {}", String::from_utf8_lossy(&made.stderr))).to_owned()
}
