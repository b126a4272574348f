//! The server at rest and one event's way to a reader: `make bench`.
//!
//! Starts the release binary on a migrated database and measures, from outside: time to ready, resident memory and processor time
//! at rest, and the time from a commit's return to the event's arrival on an open stream. The peer of the last one, in the same
//! run, is a bare LISTEN/NOTIFY on the same Postgres: the least that any such design can take.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_precision_loss,
    reason = "a measurement that fails ends"
)]

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use eventsource_stream::Eventsource;
use futures_util::StreamExt;
use panda::db::commit::Change;
use panda::db::deployments::NewDeployment;
use panda::db::{Db, DbOptions};
use panda::domain::catalogue::EventCode;
use panda::domain::connection::{AwsConnection, AwsCredentials, AwsKeys, GithubConnection};
use panda::domain::event::Event;
use panda::domain::ids;
use secrecy::SecretString;
use sqlx::{Connection, Executor, PgConnection};
use url::Url;
use uuid::Uuid;

/// Events whose way is measured.
const EVENTS: usize = 300;
/// Starts that are measured.
const STARTS: usize = 7;
/// How long the server is watched at rest.
const REST: Duration = Duration::from_secs(20);

#[tokio::main]
async fn main() {
    let server = std::env::var("PANDA_TEST_DATABASE_URL").expect("run it by `make bench`, which starts a Postgres");
    let url = fresh_database(&server).await;
    let options = DbOptions {
        url: SecretString::from(url.to_string()),
        max_connections: 4,
        acquire_timeout: Duration::from_secs(5),
    };
    let db = Db::new(&options).unwrap();
    db.migrate().await.unwrap();

    let mut ready: Vec<f64> = Vec::new();
    for _ in 0..STARTS {
        ready.push(Panda::start(&url).await.ready_ms);
    }
    let panda = Panda::start(&url).await;
    // Some calls first: the memory of a server that has never answered is nobody's.
    for _ in 0..50 {
        reqwest::get(format!("{}/readyz", panda.base)).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let cpu_before = panda.cpu_seconds();
    tokio::time::sleep(REST).await;
    let cpu_percent = (panda.cpu_seconds() - cpu_before) / REST.as_secs_f64() * 100.0;
    let rss_mib = panda.resident_kib() as f64 / 1024.0;

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

/// A running release binary; dropping it ends it.
struct Panda {
    child: Child,
    base: String,
    ready_ms: f64,
}

impl Panda {
    async fn start(url: &Url) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let base = format!("http://127.0.0.1:{port}");
        let started = Instant::now();
        let child = Command::new(env!("CARGO_BIN_EXE_panda"))
            .args(["serve", &format!("--listen=127.0.0.1:{port}"), "--controller-region=ap-northeast-2"])
            .env("PANDA_DATABASE_URL", url.as_str())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let http = reqwest::Client::new();
        while !http.get(format!("{base}/readyz")).send().await.is_ok_and(|answer| answer.status().is_success()) {
            assert!(started.elapsed() < Duration::from_secs(30), "never ready");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Self { child, base, ready_ms: started.elapsed().as_secs_f64() * 1_000.0 }
    }

    fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// User and system time, from /proc: hundredths of a second on every Linux that we know.
    fn cpu_seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
    }
}

impl Drop for Panda {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn fresh_database(server: &str) -> Url {
    let name = format!("panda_bench_{}", Uuid::new_v4().simple());
    let mut admin = PgConnection::connect(server).await.unwrap();
    admin.execute(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
    let mut url: Url = server.parse().unwrap();
    url.set_path(&name);
    url
}

/// Milliseconds from a commit's return to the event's arrival; the commits are another replica's, so NOTIFY is on the way.
async fn commit_to_reader(db: &Db, base: &str) -> Vec<f64> {
    // The server would claim the row itself: it is at a step that only this bench knows.
    let id = deployment(db).await;
    let me = Uuid::now_v7();
    db.register_replica(me, "bench", Duration::from_mins(5)).await.unwrap();
    let known = vec!["bench".to_owned()];
    let claimed = db.claim(me, 1, &known, 0, &[]).await.unwrap();
    let mut row = db.load_owned(me, &claimed).await.unwrap().pop().unwrap();
    let answer = reqwest::get(format!("{base}/api/v1/deploy/{id}/events")).await.unwrap();
    let mut events = answer.bytes_stream().eventsource();
    let mut measured = Vec::new();
    for n in 0..EVENTS {
        let event = Event::new(EventCode::BuildProgress).with("message", format!("line {n}")).keyed(n);
        db.commit(&mut row, me, Change { events: vec![event], ..Change::default() }).await.unwrap();
        let committed = Instant::now();
        db.notify_events(std::slice::from_ref(&id)).await.unwrap();
        events.next().await.unwrap().unwrap();
        measured.push(committed.elapsed().as_secs_f64() * 1_000.0);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    measured
}

/// Milliseconds from a NOTIFY's return to its arrival on a listening connection.
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

async fn deployment(db: &Db) -> String {
    let github = GithubConnection {
        id: ids::github_connection_id(),
        owner: "acme".into(),
        repo: "shop".into(),
        branch: "main".into(),
        token: SecretString::from("t"),
    };
    let keys =
        AwsKeys { access_key_id: "AKIA".into(), secret_access_key: SecretString::from("s"), session_token: None };
    let aws = AwsConnection {
        id: ids::aws_connection_id(),
        region: "ap-northeast-2".into(),
        account_id: "111122223333".into(),
        credentials: AwsCredentials::Keys(keys),
    };
    db.insert_github_connection(&github).await.unwrap();
    db.insert_aws_connection(&aws).await.unwrap();
    let new = NewDeployment {
        id: ids::deployment_id(),
        owner: "acme".into(),
        repo: "shop".into(),
        branch: "main".into(),
        github_connection_id: github.id,
        aws_connection_id: aws.id,
        account_id: aws.account_id,
        region: aws.region,
        ecr_repository: "acme-shop".into(),
        first_step: "bench".into(),
    };
    db.create_deployment(&new, None, |_| serde_json::Value::Null).await.unwrap();
    new.id
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index below the length")]
fn percentile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[((sorted.len() - 1) as f64 * share) as usize]
}
