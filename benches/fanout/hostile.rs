//! Hostile clients, which read nothing or never finish a request's head, and their effect on a well-behaved client.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::serve;
use crate::viewers::Viewers;
use panda_benches::figures::{median, percentile};
use panda_benches::postgres::Database;
use panda_benches::rows::{append, build_line, own};

/// Hostile clients of each kind.
const EACH: usize = 1_000;

/// Events of 1 KiB in each deployment's history: more than the kernel buffers for a client that does not read.
const HISTORY: usize = 400;

/// Deployments, healthy viewers of each, and events per second.
const HEALTHY: (usize, usize, u64) = (10, 10, 50);

/// Rounds of each kind, alternating.
const ROUNDS: usize = 5;

/// Returns the 99th percentile of the healthy viewers' latency in milliseconds, without and with hostile clients. Medians over the rounds.
pub async fn hostile(database: &Database) -> (f64, f64) {
    let (count, each, rate) = HEALTHY;
    let db = &database.db;
    let (me, mut rows) = own(db, "shop", count).await;
    let mut n = 0;
    for row in &mut rows {
        for _ in 0..HISTORY {
            append(db, row, me, build_line(n, "x".repeat(1_024))).await;
            n += 1;
        }
    }
    let panda = serve(database).await;
    let paths: Vec<String> = rows.iter().map(|row| format!("/api/v1/deploy/{}/events", row.id)).collect();
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    let begun = Instant::now();
    for round in 0..2 * ROUNDS {
        let mut clients = JoinSet::new();
        if round % 2 == 1 {
            for which in 0..EACH {
                clients.spawn(stalled(panda.address(), paths[which % count].clone()));
                clients.spawn(slow(panda.address()));
            }
        }
        // Waits until each hostile client occupies its resource.
        tokio::time::sleep(Duration::from_secs(3)).await;
        let mut viewers = Viewers::none();
        for path in &paths {
            viewers.add_timed(panda.address(), path, each, begun).await;
        }
        viewers.all_have(n / count).await;
        let mut ticks = tokio::time::interval(Duration::from_micros(1_000_000 / rate));
        let first = n;
        while n - first < 5 * usize::try_from(rate).unwrap() {
            ticks.tick().await;
            let row = &mut rows[n % count];
            let sent = begun.elapsed().as_micros();
            append(db, row, me, build_line(n, format!("at={sent};"))).await;
            viewers.committed(sent, begun.elapsed().as_micros());
            db.notify_events(std::slice::from_ref(&row.id)).await.unwrap();
            n += 1;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let latencies = viewers.latencies();
        assert_eq!(latencies.len(), (n - first) * each, "every event came to every healthy viewer");
        if round % 2 == 0 { &mut alone } else { &mut beside }.push(percentile(&latencies, 0.99));
    }
    (median(&alone), median(&beside))
}

/// Requests a stream and never reads it; repeats after a disconnect.
async fn stalled(address: SocketAddr, path: String) {
    loop {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4_096).unwrap();
        let Ok(mut socket) = socket.connect(address).await else { continue };
        let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n");
        socket.write_all(head.as_bytes()).await.unwrap();
        // The server disconnects after 30 s, which is longer than a round.
        tokio::time::sleep(Duration::from_secs(40)).await;
    }
}

/// Sends one header per second for as long as the server allows.
async fn slow(address: SocketAddr) {
    loop {
        let Ok(mut socket) = TcpStream::connect(address).await else { continue };
        let _ = socket.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n").await;
        let mut answer = [0_u8; 64];
        loop {
            tokio::select! {
                read = socket.read(&mut answer) => if !matches!(read, Ok(1..)) { break },
                () = tokio::time::sleep(Duration::from_secs(1)) => if socket.write_all(b"X-Slow: 1\r\n").await.is_err() { break },
            }
        }
    }
}
