//! The neighbours: reports, replays and invalid tokens, from a separate address, in a separate process.
//!
//! Neighbours are on other machines, so their clients must not take processor time from Panda and Postgres: the process has a lower priority
//! (`nice -n 10`). It still gets what the others leave, and `done` and `refused` show how many requests it sent.

use std::io::{BufRead as _, Read as _, Write as _};
use std::net::IpAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use panda::db::commit::Change;
use panda::domain::catalogue::EventCode;
use panda::domain::event::Event;
use reqwest::{Client, StatusCode};
use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, Executor as _, PgConnection};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

use panda_benches::postgres::Database;
use panda_benches::process::cpu_of;
use panda_benches::rows;

/// Option of the process.
const ROLE: &str = "--noise-process";
const PRIORITY: &str = "10";
const REPORTS: usize = 64;
const REPLAYS: usize = 1_000;
/// Clients that try tokens, and tries of each per second.
const GUESSERS: (usize, u32) = (50, 100);

/// Answers that the neighbours got.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct Seen {
    pub done: u64,
    /// Answers with 429 or 503.
    pub refused: u64,
    /// Requests cancelled before their answer.
    pub abandoned: u64,
    /// Longest time until a 503.
    pub longest_refusal: Duration,
}

/// Target of the noise.
#[derive(Clone, Deserialize, Serialize)]
pub struct Noise {
    /// The replicas, which share the noise evenly.
    pub bases: Vec<String>,
    pub token: String,
    /// Deployment whose history is replayed.
    pub replayed: String,
}

/// The process that makes the noise; [`Load::stop`] ends it.
pub struct Load(Child);

/// Makes the noise until stdin closes, and never returns, if this process was started for that.
pub async fn run_if_asked() {
    if !std::env::args().any(|argument| argument == ROLE) {
        return;
    }
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).unwrap();
    let (noise, kinds): (Noise, String) = serde_json::from_str(&line).unwrap();
    let seen = Arc::<Mutex<Seen>>::default();
    let mut tasks = noise.make(&kinds, &seen);
    // Ends with the bench under all circumstances: the kernel closes the pipe.
    let _ = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await;
    tasks.shutdown().await;
    println!("{}", serde_json::to_string(&*seen.lock().await).unwrap());
    std::process::exit(0);
}

impl Noise {
    /// Starts the noise that `kinds` names: a reports, b replays, c tokens.
    pub fn start(&self, kinds: &str) -> Load {
        let mut process = Command::new("nice")
            .args(["-n", PRIORITY])
            .arg(std::env::current_exe().unwrap())
            .arg(ROLE)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let asked = serde_json::to_string(&(self, kinds)).unwrap();
        super::cores::free(process.id());
        writeln!(process.stdin.as_mut().unwrap(), "{asked}").unwrap();
        Load(process)
    }

    fn make(&self, kinds: &str, seen: &Arc<Mutex<Seen>>) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        for kind in kinds.chars() {
            let count = match kind {
                'a' => REPORTS,
                'b' => REPLAYS,
                _ => GUESSERS.0,
            };
            let client = Client::builder().local_address(IpAddr::from([127, 0, 0, 2])).build().unwrap();
            for base in self.bases.iter().cycle().take(count) {
                let (client, base, token, id, seen) =
                    (client.clone(), base.clone(), self.token.clone(), self.replayed.clone(), Arc::clone(seen));
                tasks.spawn(async move {
                    match kind {
                        'a' => reports(&client, &base, &token, &seen).await,
                        'b' => replays(&client, &base, &token, &id, &seen).await,
                        _ => guesses(&client, &base, &seen).await,
                    }
                });
            }
        }
        tasks
    }
}

impl Load {
    /// Processor time of the process so far.
    pub fn cpu_seconds(&self) -> f64 {
        cpu_of(self.0.id()).map_or(0.0, |cpu| cpu.own)
    }

    /// Stops the noise and returns what it met.
    pub async fn stop(mut self) -> Seen {
        drop(self.0.stdin.take());
        let ended = tokio::task::spawn_blocking(move || self.0.wait_with_output()).await.unwrap().unwrap();
        serde_json::from_slice(&ended.stdout).unwrap()
    }
}

async fn reports(client: &Client, base: &str, token: &str, seen: &Mutex<Seen>) {
    loop {
        let patience = Duration::from_millis(rand::random_range(50..2_000));
        let begun = Instant::now();
        let asked =
            client.get(format!("{base}/api/v1/reports/slowest-stages?since=2025-01-01")).bearer_auth(token).send();
        let answer = timeout(patience, asked).await.ok().and_then(Result::ok);
        let refused = answer.as_ref().is_some_and(|answer| !answer.status().is_success());
        note(seen, answer.map(|answer| answer.status()), begun.elapsed()).await;
        if refused {
            // As its Retry-After says at least; (c) measures floods.
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}

async fn replays(client: &Client, base: &str, token: &str, id: &str, seen: &Mutex<Seen>) {
    loop {
        let begun = Instant::now();
        let Ok(mut stream) = client.get(format!("{base}/api/v1/deploy/{id}/events")).bearer_auth(token).send().await
        else {
            continue;
        };
        note(seen, Some(stream.status()), begun.elapsed()).await;
        if !stream.status().is_success() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        while let Ok(Some(_)) = stream.chunk().await {}
    }
}

async fn guesses(client: &Client, base: &str, seen: &Mutex<Seen>) {
    let mut ticks = interval(Duration::from_secs(1) / GUESSERS.1);
    loop {
        ticks.tick().await;
        let token = format!("panda_{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>());
        let begun = Instant::now();
        let answer = client.get(format!("{base}/api/v1/deploy")).bearer_auth(token).send().await;
        note(seen, answer.ok().map(|answer| answer.status()), begun.elapsed()).await;
    }
}

async fn note(seen: &Mutex<Seen>, status: Option<StatusCode>, took: Duration) {
    let mut seen = seen.lock().await;
    match status {
        None => seen.abandoned += 1,
        Some(StatusCode::SERVICE_UNAVAILABLE) => {
            seen.refused += 1;
            seen.longest_refusal = seen.longest_refusal.max(took);
        }
        Some(StatusCode::TOO_MANY_REQUESTS) => seen.refused += 1,
        Some(_) => seen.done += 1,
    }
}

/// Creates `deployments` finished deployments for the reports, and one with `events` to replay; returns the latter's id.
pub async fn fill(database: &Database, look: &mut PgConnection, deployments: usize, events: usize) -> String {
    let (me, mut rows) = rows::own(&database.db, "replayed", 1).await;
    let mut row = rows.remove(0);
    for from in (0..events).step_by(500) {
        let lines = (from..events.min(from + 500))
            .map(|n| {
                Event::new(EventCode::BuildProgress)
                    .with("message", format!("Step {n}: RUN make -C module-{n} all"))
                    .keyed(n)
            })
            .collect();
        database.db.commit(&mut row, me, Change { events: lines, ..Change::default() }).await.unwrap();
    }
    let ids: Vec<(String, String)> =
        sqlx::query_as("SELECT github_connection_id, aws_connection_id FROM deployments LIMIT 1")
            .fetch_all(&mut *look)
            .await
            .unwrap();
    let (github, aws) = &ids[0];
    let sql = include_str!("../report/fill.sql")
        .replace("{deployments}", &deployments.to_string())
        .replace("{events}", "10")
        .replace("{github}", github)
        .replace("{aws}", aws);
    look.execute(AssertSqlSafe(sql)).await.unwrap();
    database.db.rebuild_reports().await.unwrap();
    row.id
}
