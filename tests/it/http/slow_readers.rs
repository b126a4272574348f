//! Stalled readers, clients that open too many streams, and a process that has few file descriptors left.

use std::process::Stdio;
use std::time::Duration;

use reqwest::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::process::Command;
use tokio::time::{Instant, timeout};

use super::{Answer, Api, ExternalServices, Fixture, Reader, UNREACHABLE};
use crate::support::db::{KEY_FILE, TestDb};
use crate::support::{WAIT_LIMIT, wait_for};

/// Far more than a connection's buffers hold.
const LINES: u32 = 6_000;

/// Opens a connection with a receive buffer of `bytes` and requests `path`.
async fn connect(api: &Api, path: &str, bytes: u32) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(bytes).unwrap();
    let mut stream = socket.connect(api.address).await.unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).await.unwrap();
    stream
}

/// Reads everything that had been sent.
async fn left_over(mut stream: TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    // A reset ends the connection too.
    let _ = timeout(WAIT_LIMIT, stream.read_to_end(&mut bytes)).await.expect("the server has closed");
    bytes
}

/// The id of the last event that arrived completely.
fn last_id(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let whole = &text[..text.rfind("}\n\n").unwrap()];
    whole.rsplit_once("id: ").unwrap().1.lines().next().unwrap().to_owned()
}

#[tokio::test]
async fn slow_reader__stalled_disconnected_and_resumes_exactly() {
    let db = TestDb::new().await;
    let api = Api::serve_with(&db.db, &ExternalServices::default(), &["--reader-stall-ms=1000"]).await;
    let mut fixture = Fixture::begin(&db.db).await;
    let first = api.request(Method::GET, "/api/v1/events");
    let mut feed = Reader::open(first).await;
    for from in (1..LINES).step_by(500) {
        fixture.build_lines(from, from + 499).await;
    }
    let own = format!("/api/v1/deploy/{}/events", fixture.id());
    let all = format!("/api/v1/events?lastEventId={}", feed.take(1).await[0].id);
    drop(feed);
    for (path, expected) in [(own, LINES), (all, LINES - 1)] {
        let begun = Instant::now();
        let stream = connect(&api, &path, 4 * 1024).await;
        wait_for("the stalled stream is disconnected", async || {
            api.open_streams() == 0 && begun.elapsed() > Duration::from_millis(900)
        })
        .await;
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
        let bytes = left_over(stream).await;
        // Bounded by the kernel's buffers on both sides; the program buffers nothing.
        assert!(bytes.len() < 256 * 1024, "{}", bytes.len());
        let received = String::from_utf8_lossy(&bytes).matches("\nevent: ").count();
        let whole = last_id(&bytes);
        let mut resumed = Reader::open(api.request(Method::GET, &path).header("last-event-id", &whole)).await;
        // The last event may be incomplete, and is sent again.
        let rest = resumed.take(usize::try_from(expected).unwrap() - received).await;
        assert!(rest.last().unwrap().text().ends_with(&format!("line {LINES}")) || resumed.take(1).await.len() == 1);
    }
}

#[tokio::test]
async fn slow_reader__slow_but_reading_kept() {
    let db = TestDb::new().await;
    let api = Api::serve_with(&db.db, &ExternalServices::default(), &["--reader-stall-ms=1500"]).await;
    let mut fixture = Fixture::begin(&db.db).await;
    fixture.build_lines(1, LINES).await;
    fixture.fail().await;
    let mut stream = connect(&api, &format!("/api/v1/deploy/{}/events", fixture.id()), 64 * 1024).await;
    let mut bytes = vec![0; 64 * 1024];
    let (mut pauses, mut read) = (0, Vec::new());
    // Takes longer than the limit in total, but reads something within each limit.
    loop {
        let n = timeout(WAIT_LIMIT, stream.read(&mut bytes)).await.unwrap().expect("it is not cut");
        read.extend_from_slice(&bytes[..n]);
        if n == 0 || read.windows(12).any(|part| part == b"event: fail\n") {
            break;
        }
        if pauses < 5 {
            pauses += 1;
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
    assert!(String::from_utf8_lossy(&read).contains("event: fail"), "all of it arrived");
}

#[tokio::test]
async fn stream_limit__per_client() {
    let db = TestDb::new().await;
    let api = Api::serve_with(&db.db, &ExternalServices::default(), &["--max-streams-per-client=2"]).await;
    let fixture = Fixture::begin(&db.db).await;
    let path = format!("/api/v1/deploy/{}/events", fixture.id());
    let one = api.follow(fixture.id(), "").await;
    let _other = Reader::open(api.request(Method::GET, "/api/v1/events")).await;
    for path in [path.as_str(), "/api/v1/events"] {
        let answer = api.get(path).await;
        let problem = answer.problem(429, "TOO_MANY_STREAMS_OF_CLIENT");
        assert!(problem["detail"].as_str().unwrap().contains("/api/v1/events"), "{problem}");
        assert!(!answer.header("retry-after").is_empty());
        // The header of an untrusted client is ignored.
        let forged = api.request(Method::GET, path).header("x-forwarded-for", "192.0.2.1").send().await.unwrap();
        assert_eq!(forged.status(), 429);
    }
    assert_eq!(api.get("/api/v1/deploy").await.status, 200, "everything else keeps working");
    drop(one);
    wait_for("its permit is released", async || api.open_streams() == 1).await;
    assert_eq!(api.follow(fixture.id(), "").await.status, 200);
}

#[tokio::test]
async fn stream_limit__per_client_behind_proxy_and_in_total() {
    let db = TestDb::new().await;
    let flags = ["--max-streams-per-client=1", "--max-streams=2", "--trusted-proxies=127.0.0.0/8", "--no-auth"];
    let api = Api::serve_with(&db.db, &ExternalServices::default(), &flags).await;
    let open = async |client: &str| {
        let request = api.request(Method::GET, "/api/v1/events").header("x-forwarded-for", client);
        request.send().await.unwrap()
    };
    let first = open("192.0.2.1").await;
    assert_eq!(first.status(), 200);
    Answer::of(open("192.0.2.1").await).await.problem(429, "TOO_MANY_STREAMS_OF_CLIENT");
    let second = open("6.6.6.6, 192.0.2.2").await;
    assert_eq!(second.status(), 200);
    let refused = Answer::of(open("192.0.2.3").await).await;
    refused.problem(429, "TOO_MANY_STREAMS");
    assert!(!refused.header("retry-after").is_empty());
    drop((first, second));
    wait_for("the permits are released", async || api.open_streams() == 0).await;
    assert_eq!(open("192.0.2.3").await.status(), 200);
}

#[tokio::test]
async fn connection_limit__idle_connections_closed_first() {
    let db = TestDb::new().await;
    let api = Api::serve_with(&db.db, &ExternalServices::default(), &["--max-connections=20"]).await;
    let fixture = Fixture::begin(&db.db).await;
    let mut reader = api.follow(fixture.id(), "").await;
    let mut crowd = Vec::new();
    for _ in 0..100 {
        let mut socket = TcpStream::connect(api.address).await.unwrap();
        let _ = socket.write_all(b"GET /healthz HTTP/1.1\r\nHost: pan").await;
        crowd.push(socket);
    }
    let begun = Instant::now();
    for _ in 0..10 {
        let fresh = reqwest::Client::new();
        assert_eq!(fresh.get(format!("http://{}/readyz", api.address)).send().await.unwrap().status(), 200);
    }
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "no connection is held until its time limit: {:?}",
        begun.elapsed()
    );
    let mut fixture = fixture;
    fixture.build_lines(1, 1).await;
    assert_eq!(reader.take(1).await.len(), 1, "and streams stay");
}

#[tokio::test]
async fn connection_limit__few_descriptors_keep_probes_api_and_reconciler() {
    let db = TestDb::new().await;
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (listen, database) = (format!("--listen=127.0.0.1:{port}"), format!("--database-url={}", db.url()));
    let aws = format!("--aws-endpoint={UNREACHABLE}");
    let mut command = Command::new("sh");
    // Half of the descriptors are reserved for everything but connections to the API.
    command.args(["-c", "ulimit -n 300; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_panda"), "serve", &listen, &database]);
    command.arg(format!("--key-file={KEY_FILE}"));
    command.args([&aws, "--controller-region=ap-northeast-2", "--database-max-connections=10"]);
    command.env("AWS_ACCESS_KEY_ID", "AKIATEST").env("AWS_SECRET_ACCESS_KEY", "secret");
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).spawn().unwrap();
    let base = format!("http://127.0.0.1:{port}");
    let ready = async || reqwest::get(format!("{base}/readyz")).await.is_ok_and(|answer| answer.status().is_success());
    wait_for("the server is ready", ready).await;
    let mut crowd = Vec::new();
    for n in 0..600 {
        let Ok(mut socket) = TcpStream::connect(("127.0.0.1", port)).await else { continue };
        let stream: &[u8] = b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let _ = socket.write_all(if n % 2 == 0 { stream } else { &b"GET /he"[..] }).await;
        crowd.push(socket);
    }
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", child.id().unwrap())).unwrap().count();
    assert!(descriptors() < 290, "{}", descriptors());
    let fixture = Fixture::unclaimed(&db.db).await;
    wait_for("a replica takes the deployment", async || {
        let sql =
            "SELECT replica_id IS NOT NULL OR next_event_seq > 1 OR status = 'FAILED' FROM deployments WHERE id = $1";
        sqlx::query_scalar::<_, bool>(sql).bind(&fixture).fetch_one(&mut db.psql().await).await.unwrap()
    })
    .await;
    let begun = Instant::now();
    for path in ["/healthz", "/readyz", "/api/v1/deploy"] {
        let answer = timeout(WAIT_LIMIT, reqwest::get(format!("{base}{path}"))).await.unwrap().unwrap();
        assert_eq!(answer.status(), 200, "{path}");
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    child.kill().await.unwrap();
}
