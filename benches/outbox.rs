//! Measures deliveries to webhooks: `make bench-outbox`.
//!
//! Two replicas of the release program, of which one is killed halfway, deliver 1,000 events a second to 20 receivers, beside one that never answers.
//! The database is durable, and everything runs on one machine. Compares the time of a deployment's commit with the same load without webhooks.
//!
//! `PANDA_BENCH_SECONDS` (60), `PANDA_BENCH_RATE` (1000 events a second), `PANDA_BENCH_RECEIVERS` (20) and `PANDA_BENCH_EACH` (20, the receivers that
//! each event goes to) change it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use panda::db::Db;
use panda_benches::figures::{head, line, median, number, percentile, seconds};
use panda_benches::postgres::Server;
use panda_benches::process::Panda;
use panda_benches::rows;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::time::MissedTickBehavior;

/// Deployments that emit the events.
const DEPLOYMENTS: usize = 100;

/// Time that the replicas have for the rest after the last event.
const REST: Duration = Duration::from_secs(30);

/// One event: number of its deployment, and its sequence number.
type EventKey = (usize, i64);

/// Arrivals at one receiver, in order.
type Arrivals = Arc<Mutex<Vec<(EventKey, Instant)>>>;

#[tokio::main]
async fn main() {
    let (time, rate) = (seconds("PANDA_BENCH_SECONDS", 60), number("PANDA_BENCH_RATE", 1_000_u32));
    let receivers = number("PANDA_BENCH_RECEIVERS", 20_usize);
    let each = number("PANDA_BENCH_EACH", receivers).min(receivers);
    let server = Server::start().await;
    let database = server.database().await;
    let (me, rows) = rows::own(&database.db, "shop", DEPLOYMENTS).await;
    let ids: Arc<HashMap<String, usize>> =
        Arc::new(rows.iter().enumerate().map(|(at, row)| (row.id.clone(), at)).collect());
    let repos: Vec<String> = rows.iter().map(|row| format!("{}/{}", row.owner, row.repo)).collect();
    let options = ["--health-allow=127.0.0.0/8".to_owned()];
    let first = Panda::start_with(&database.url, &options, &[]).await;
    let second = Panda::start_with(&database.url, &options, &[]).await;

    let load = Load { db: database.db.clone(), url: database.url.to_string(), me, rate };
    let (rows, alone) = load.run(rows, time / 4, 0).await;
    let undisturbed: Vec<f64> = alone.values().map(|(_, millis)| *millis).collect();
    let done: i64 = alone.len().try_into().unwrap();

    let mut arrivals = Vec::new();
    for receiver in 0..receivers {
        let (url, arrived) = receiver_at(Arc::clone(&ids)).await;
        let wanted = repos.iter().enumerate().filter(|(at, _)| (at + receivers - receiver) % receivers < each);
        create(&first, &url, wanted.map(|(_, repo)| repo.clone()).collect()).await;
        arrivals.push(arrived);
    }
    create(&first, &silent_receiver().await, repos.clone()).await;
    // Both replicas hold receivers before the measurement begins.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let killed = AtomicBool::new(false);
    let (emitted, ()) = tokio::join!(load.run(rows, time, done), async {
        tokio::time::sleep(time / 2).await;
        drop(second);
        killed.store(true, Ordering::SeqCst);
    });
    assert!(killed.load(Ordering::SeqCst));
    let emitted = emitted.1;
    let expected: usize = emitted.len() * each;
    let begun = Instant::now();
    while distinct(&arrivals).await < expected && begun.elapsed() < REST {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    report(&emitted, &arrivals, expected, &undisturbed, time).await;
}

async fn distinct(arrivals: &[Arrivals]) -> usize {
    let mut count = 0;
    for one in arrivals {
        count += one.lock().await.iter().map(|(key, _)| *key).collect::<HashSet<_>>().len();
    }
    count
}

async fn report(
    emitted: &HashMap<EventKey, (Instant, f64)>,
    arrivals: &[Arrivals],
    expected: usize,
    undisturbed: &[f64],
    time: Duration,
) {
    let (mut latencies, mut repeated, mut disordered) = (Vec::new(), 0, 0);
    for one in arrivals {
        let (mut seen, mut last) = (HashSet::new(), HashMap::new());
        for (key, at) in one.lock().await.iter() {
            if !seen.insert(*key) {
                repeated += 1;
                continue;
            }
            disordered += usize::from(last.insert(key.0, key.1).is_some_and(|before| before > key.1));
            if let Some((committed, _)) = emitted.get(key) {
                latencies.push(at.saturating_duration_since(*committed).as_secs_f64() * 1_000.0);
            }
        }
    }
    let commits: Vec<f64> = emitted.values().map(|(_, millis)| *millis).collect();
    let lateness = median(&commits) / median(undisturbed);
    head();
    line("events a second", format!("{:.0}", emitted.len() as f64 / time.as_secs_f64()), "1000");
    line("deliveries, of expected", format!("{} of {expected}", latencies.len()), "all");
    line("repeated because of the kill, with the same id", repeated, "0 of those that are ignored by id");
    line("out of order within a deployment", disordered, "0");
    line("commit to arrival, median", format!("{:.0} ms", median(&latencies)), "");
    line("commit to arrival, p99", format!("{:.0} ms", percentile(&latencies, 0.99)), "2000 ms");
    line("commit with webhooks, of that without (median)", format!("{lateness:.2}"), "1.05");
    let figures = json!({
        "events": emitted.len(), "deliveries": latencies.len(), "expected": expected, "repeated": repeated, "disordered": disordered,
        "median_ms": median(&latencies), "p99_ms": percentile(&latencies, 0.99), "lateness": lateness,
    });
    println!("{figures}");
}

/// A load of events, evenly over all deployments.
struct Load {
    db: Db,
    url: String,
    me: uuid::Uuid,
    rate: u32,
}

impl Load {
    /// Emits events for `time`. Returns the deployments, and when each event was committed, with the duration of its commit in milliseconds.
    async fn run(
        &self,
        rows: Vec<panda::domain::Deployment>,
        time: Duration,
        done: i64,
    ) -> (Vec<panda::domain::Deployment>, HashMap<EventKey, (Instant, f64)>) {
        let period = Duration::from_secs_f64(DEPLOYMENTS as f64 / f64::from(self.rate));
        let first = usize::try_from(done).unwrap();
        let tasks = rows.into_iter().enumerate().map(|(at, mut row)| {
            let (db, me) = (self.db.clone(), self.me);
            tokio::spawn(async move {
                let mut emitted = Vec::new();
                // Evenly distributed beginnings.
                let begin = tokio::time::Instant::now() + period.mul_f64(at as f64 / DEPLOYMENTS as f64);
                let (mut ticks, end) = (tokio::time::interval_at(begin, period), begin + time);
                ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
                for n in 0.. {
                    if ticks.tick().await >= end {
                        break;
                    }
                    let started = Instant::now();
                    rows::append(&db, &mut row, me, rows::build_line(first + n, format!("line {n}"))).await;
                    let committed = Instant::now();
                    emitted.push((committed, (committed - started).as_secs_f64() * 1_000.0));
                }
                (at, row, emitted)
            })
        });
        let (mut rows, mut all) = (Vec::new(), HashMap::new());
        let mut connection = PgConnection::connect(&self.url).await.unwrap();
        for task in tasks.collect::<Vec<_>>() {
            let (at, row, emitted) = task.await.unwrap();
            let newest: i64 = sqlx::query_scalar("SELECT max(seq) FROM deployment_events WHERE deployment_id = $1")
                .bind(&row.id)
                .fetch_one(&mut connection)
                .await
                .unwrap();
            let before = newest - i64::try_from(emitted.len()).unwrap();
            all.extend((1..).zip(emitted).map(|(n, one)| ((at, before + n), one)));
            rows.push(row);
        }
        (rows, all)
    }
}

async fn create(panda: &Panda, url: &str, repositories: Vec<String>) {
    let body = json!({"url": url, "repositories": repositories});
    let request = reqwest::Client::new().post(format!("{}/api/v1/webhooks", panda.base)).json(&body);
    let answer = request.send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
}

/// A receiver that never answers.
async fn silent_receiver() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((connection, _)) = listener.accept().await {
            open.push(connection);
        }
    });
    url
}

/// A receiver that accepts everything, as cheaply as possible: it shares the machine with the measured program.
async fn receiver_at(ids: Arc<HashMap<String, usize>>) -> (String, Arrivals) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let arrived = Arrivals::default();
    let kept = Arc::clone(&arrived);
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            tokio::spawn(receive(connection, Arc::clone(&ids), Arc::clone(&kept)));
        }
    });
    (url, arrived)
}

/// Answers the requests of one connection until its other end closes it.
async fn receive(mut connection: TcpStream, ids: Arc<HashMap<String, usize>>, arrived: Arrivals) {
    let mut buffer = Vec::new();
    loop {
        let Some(body) = request(&mut connection, &mut buffer).await else { return };
        let event: Value = serde_json::from_slice(&body).unwrap();
        let (deployment, seq) =
            (event["data"]["deploymentId"].as_str().unwrap(), event["data"]["sequence"].as_i64().unwrap());
        arrived.lock().await.push(((ids[deployment], seq), Instant::now()));
        if connection.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.is_err() {
            return;
        }
    }
}

/// Reads one request; returns its body.
async fn request(connection: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    loop {
        if let Some(head) = buffer.windows(4).position(|end| end == b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&buffer[..head]).to_ascii_lowercase();
            let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok());
            let end = head + 4 + length.unwrap_or(0_usize);
            if buffer.len() >= end {
                let body = buffer[head + 4..end].to_vec();
                buffer.drain(..end);
                return Some(body);
            }
        }
        if connection.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}
