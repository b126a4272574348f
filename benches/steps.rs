//! Durable steps per second, compared with two job queues on the same Postgres: `make bench-steps`.
//!
//! One step of Panda is one fenced commit through `Db::commit`: the deployment's row advances and one event is written, durable when the call
//! returns. One step of a peer is one queued job: claimed, run, completed. A job has no event, so its handler inserts one row of the same shape
//! (`event`), in a separate statement: the peers promise less there, since a crash can separate job and row. `bare` is the same job with an empty
//! handler, which leaves no trace but its end.
//!
//! Each has 16 connections to one durable Postgres and a fresh database each time; the runs alternate, and the medians count.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use panda::db::commit::{Change, Committed};
use panda::domain::catalogue::EventCode;
use panda::domain::event::Event;
use panda_benches::figures::{head, line, median};
use panda_benches::postgres::Server;
use panda_benches::rows;
use sqlx::{Connection, Executor, PgConnection};
use url::Url;

const DEPLOYMENTS: usize = 2_000;
/// About as many steps as a deployment has.
const STEPS: usize = 10;
const JOBS: usize = DEPLOYMENTS * STEPS;
const RUNS: usize = 3;

/// Table of the peers' events: `deployment_events` without the columns that only Panda needs.
const EVENTS: &str = "CREATE TABLE bench_events (
    owner text NOT NULL, seq bigint NOT NULL, id uuid NOT NULL, attempt integer NOT NULL DEFAULT 1, key text NOT NULL, code text NOT NULL,
    type text NOT NULL DEFAULT 'stage', stage integer DEFAULT 1, message text NOT NULL, details jsonb, params jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(), PRIMARY KEY (owner, seq), UNIQUE (owner, attempt, key));
    CREATE INDEX ON bench_events (owner, id)";

#[tokio::main]
async fn main() {
    let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers");
    let awa = build_awa(&peers.join("awa"));
    let graphile = install_graphile(&peers.join("graphile"));
    let server = Server::start().await;
    let mut measured: [(&str, Vec<f64>); 5] =
        ["panda", "graphile_event", "awa_event", "graphile_bare", "awa_bare"].map(|name| (name, Vec::new()));
    for _ in 0..RUNS {
        measured[0].1.push(of_panda(&server).await);
        for (at, program, mode) in
            [(1, &graphile, "event"), (2, &awa, "event"), (3, &graphile, "bare"), (4, &awa, "bare")]
        {
            let url = server.empty_database().await;
            measured[at].1.push(of_peer(program, &url, mode).await);
        }
    }

    let [panda, graphile_event, awa_event, graphile_bare, awa_bare] = measured.map(|(_, rates)| median(&rates));
    let (with_event, bare) = (panda / graphile_event.max(awa_event), panda / graphile_bare.max(awa_bare));
    head();
    line(&format!("panda: steps with one event, median of {RUNS}"), format!("{panda:.0}/s"), "");
    line("graphile-worker: jobs with one event row", format!("{graphile_event:.0}/s"), "");
    line("awa: jobs with one event row", format!("{awa_event:.0}/s"), "");
    line("panda : the better of them", format!("{with_event:.2}"), "2.00");
    line("graphile-worker: jobs with nothing in them", format!("{graphile_bare:.0}/s"), "");
    line("awa: jobs with nothing in them", format!("{awa_bare:.0}/s"), "");
    line("panda, event included : the better of those", format!("{bare:.2}"), "");
    println!(
        "{}",
        serde_json::json!({
            "panda_steps_per_second": panda, "graphile_event_per_second": graphile_event, "awa_event_per_second": awa_event,
            "graphile_bare_per_second": graphile_bare, "awa_bare_per_second": awa_bare, "ratio_to_better_with_event": with_event,
            "ratio_to_better_bare": bare,
        })
    );
}

/// Returns steps per second: from the claim of all deployments to the last commit's return.
async fn of_panda(server: &Server) -> f64 {
    let database = server.database().await;
    let db = &database.db;
    rows::create(db, DEPLOYMENTS).await;
    let me = rows::replica(db).await;
    database.settle().await;
    let started = Instant::now();
    let tasks: Vec<_> = rows::claim(db, me, DEPLOYMENTS)
        .await
        .into_iter()
        .map(|mut row| {
            let db = db.clone();
            // One task for each deployment, as in the reconciler.
            tokio::spawn(async move {
                for n in 0..STEPS {
                    let event = Event::new(EventCode::BuildProgress).with("message", format!("line {n}")).keyed(n);
                    let step = Some((rows::STEP.to_owned(), serde_json::json!({"n": n})));
                    let change = Change { step, events: vec![event], ..Change::default() };
                    assert_eq!(db.commit(&mut row, me, change).await.unwrap(), Committed::Done { new_events: 1 });
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let seconds = started.elapsed().as_secs_f64();
    let events: i64 = sqlx::query_scalar("SELECT count(*) FROM deployment_events")
        .fetch_one(&mut database.look().await)
        .await
        .unwrap();
    assert_eq!(events, i64::try_from(JOBS).unwrap());
    JOBS as f64 / seconds
}

/// A peer's program with its first arguments.
struct Peer {
    program: PathBuf,
    first: Vec<PathBuf>,
}

/// Returns jobs per second, as the peer's program measures them: from the start of its worker to the last completion.
async fn of_peer(peer: &Peer, url: &Url, mode: &str) -> f64 {
    let mut connection = PgConnection::connect(url.as_str()).await.unwrap();
    connection.execute(EVENTS).await.unwrap();
    let mut command = Command::new(&peer.program);
    command.args(&peer.first).args([&JOBS.to_string(), mode]).env("DATABASE_URL", url.as_str());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{}: {}", peer.program.display(), String::from_utf8_lossy(&output.stderr));
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let events: i64 = sqlx::query_scalar("SELECT count(*) FROM bench_events").fetch_one(&mut connection).await.unwrap();
    assert_eq!(events, if mode == "event" { i64::try_from(JOBS).unwrap() } else { 0 });
    JOBS as f64 / said["seconds"].as_f64().unwrap()
}

fn build_awa(dir: &Path) -> Peer {
    run(Command::new("cargo").args(["build", "--quiet", "--release", "--locked"]).current_dir(dir));
    Peer { program: dir.join("target/release/panda-bench-awa"), first: Vec::new() }
}

fn install_graphile(dir: &Path) -> Peer {
    run(Command::new("npm").args(["ci", "--silent", "--no-audit", "--no-fund"]).current_dir(dir));
    Peer { program: "node".into(), first: vec![dir.join("worker.mjs")] }
}

fn run(command: &mut Command) {
    let status = command.env_remove("CARGO_TARGET_DIR").status();
    assert!(status.is_ok_and(|status| status.success()), "failed: {command:?}");
}
