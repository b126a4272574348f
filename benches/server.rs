//! Measures the server at rest, and the latency of one event to a reader: `make bench`.
//!
//! Starts the release binary on a migrated database and measures from outside: time to ready, resident memory and processor time at rest, and the
//! time from a commit's return to the event's arrival on an open stream. The peer of the last one, in the same run, is a bare LISTEN/NOTIFY on the
//! same Postgres: the least that any such design can take.

use std::time::{Duration, Instant};

use panda::db::Db;
use panda::db::commit::Change;
use panda::domain::catalogue::EventCode;
use panda::domain::event::Event;
use panda_benches::figures::percentile;
use panda_benches::postgres::open;
use panda_benches::process::Panda;
use panda_benches::rows;
use panda_testing::sse::EventStream;
use sqlx::{Connection, Executor, PgConnection};
use url::Url;
use uuid::Uuid;

/// Events in the latency measurement.
const EVENTS: usize = 300;
/// Starts in the measurement of time to ready.
const STARTS: usize = 7;
/// Time of observation at rest.
const REST: Duration = Duration::from_secs(20);

#[tokio::main]
async fn main() {
    let server = std::env::var("PANDA_TEST_DATABASE_URL").expect("run it by `make bench`, which starts a Postgres");
    let url = fresh_database(&server).await;
    let db = open(url.as_str());
    db.migrate().await.unwrap();

    let mut ready: Vec<f64> = Vec::new();
    for _ in 0..STARTS {
        ready.push(Panda::start(&url).await.ready_ms);
    }
    let panda = Panda::start(&url).await;
    // Answers some calls first: the memory of a server that has never answered is not representative.
    for _ in 0..50 {
        reqwest::get(format!("{}/readyz", panda.base)).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let cpu_before = panda.cpu_seconds();
    tokio::time::sleep(REST).await;
    let cpu_percent = (panda.cpu_seconds() - cpu_before) / REST.as_secs_f64() * 100.0;
    let rss_mib = panda.resident_mib();

    let bare = bare_notify(&url).await;
    let stream = commit_to_reader(&db, &panda.base).await;

    println!("{:<44} {:>10} {:>10}", "figure", "measured", "to reach");
    println!("{:<44} {:>7.0} ms {:>7} ms", format!("start to ready, median of {STARTS}"), percentile(&ready, 0.5), 300);
    println!("{:<44} {rss_mib:>6.1} MiB {:>6} MiB", "resident memory at rest", 30);
    println!("{:<44} {cpu_percent:>8.2} % {:>8} %", "processor at rest, of one core", 0.5);

    let (p50, p99) = (percentile(&stream, 0.5), percentile(&stream, 0.99));
    println!("{:<44} {p50:>7.2} ms {:>7} ms", format!("commit to reader, median of {EVENTS}"), 50);
    println!("{:<44} {p99:>7.2} ms", "commit to reader, 99th percentile");
    let peer = percentile(&bare, 0.5);
    println!("{:<44} {peer:>7.2} ms", "peer: bare LISTEN/NOTIFY, median");
    println!(
        "{}",
        serde_json::json!({
            "ready_ms": percentile(&ready, 0.5), "rss_mib": rss_mib, "cpu_percent": cpu_percent, "commit_to_reader_p50_ms": p50,
            "commit_to_reader_p99_ms": p99, "bare_notify_p50_ms": peer, "ratio_to_bare_notify": p50 / peer,
        })
    );
}

async fn fresh_database(server: &str) -> Url {
    let name = format!("panda_bench_{}", Uuid::new_v4().simple());
    let mut admin = PgConnection::connect(server).await.unwrap();
    admin.execute(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
    let mut url: Url = server.parse().unwrap();
    url.set_path(&name);
    url
}

/// Returns the milliseconds from a commit's return to the event's arrival. The commits are another replica's, so they include NOTIFY.
async fn commit_to_reader(db: &Db, base: &str) -> Vec<f64> {
    // Rows at a step that only this bench knows, so that the server does not claim them.
    rows::create(db, 1).await;
    let me = rows::replica(db).await;
    let mut row = rows::claim(db, me, 1).await.pop().unwrap();
    let id = row.id.clone();
    let answer = reqwest::get(format!("{base}/api/v1/deploy/{id}/events")).await.unwrap();
    let mut events = EventStream::of(answer);
    let mut measured = Vec::new();
    for n in 0..EVENTS {
        let event = Event::new(EventCode::BuildProgress).with("message", format!("line {n}")).keyed(n);
        db.commit(&mut row, me, Change { events: vec![event], ..Change::default() }).await.unwrap();
        let committed = Instant::now();
        db.notify_events(std::slice::from_ref(&id)).await.unwrap();
        events.next().await.unwrap();
        measured.push(committed.elapsed().as_secs_f64() * 1_000.0);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    measured
}

/// Returns the milliseconds from a NOTIFY's return to its arrival on a listening connection.
async fn bare_notify(url: &Url) -> Vec<f64> {
    let mut listener = sqlx::postgres::PgListener::connect(url.as_str()).await.unwrap();
    listener.listen("bench").await.unwrap();
    let mut sender = PgConnection::connect(url.as_str()).await.unwrap();
    let mut measured = Vec::new();
    for _ in 0..EVENTS {
        let sent = Instant::now();
        sender.execute("SELECT pg_notify('bench', 'x')").await.unwrap();
        listener.recv().await.unwrap();
        measured.push(sent.elapsed().as_secs_f64() * 1_000.0);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    measured
}
