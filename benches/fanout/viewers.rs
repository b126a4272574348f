//! Clients that read and count. Sockets and a buffer for all: what they cost is not what is measured, but they share the machine.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Connections that are opened at once.
const AT_ONCE: usize = 100;

/// When an event with a time in its text arrived: the time, and the arrival.
type Arrivals = Arc<Mutex<Vec<(u128, u128)>>>;

pub struct Viewers {
    tasks: JoinSet<()>,
    count: usize,
    events: Arc<AtomicUsize>,
    arrivals: Arrivals,
    committed: HashMap<u128, u128>,
}

impl Viewers {
    pub fn none() -> Self {
        Self {
            tasks: JoinSet::new(),
            count: 0,
            events: Arc::default(),
            arrivals: Arc::default(),
            committed: HashMap::new(),
        }
    }

    /// Opens `count` streams; all are answered when this returns.
    pub async fn open(address: SocketAddr, path: &str, count: usize) -> Self {
        let mut viewers = Self::none();
        viewers.add(address, path, count, None).await;
        viewers
    }

    /// The same, for events with a time in their text.
    pub async fn add_timed(&mut self, address: SocketAddr, path: &str, count: usize, begun: Instant) {
        self.add(address, path, count, Some(begun)).await;
    }

    async fn add(&mut self, address: SocketAddr, path: &str, count: usize, begun: Option<Instant>) {
        for batch in (0..count).step_by(AT_ONCE) {
            let mut opening = JoinSet::new();
            for _ in batch..count.min(batch + AT_ONCE) {
                opening.spawn(open(address, path.to_owned()));
            }
            while let Some(socket) = opening.join_next().await {
                let (events, arrivals) = (Arc::clone(&self.events), Arc::clone(&self.arrivals));
                self.tasks.spawn(read(socket.unwrap(), events, arrivals, begun));
                self.count += 1;
            }
        }
    }

    /// Waits until each viewer has had `each` events.
    pub async fn all_have(&mut self, each: usize) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.events.load(Ordering::Relaxed) < each * self.count {
            assert!(Instant::now() < deadline, "{} of {}", self.events.load(Ordering::Relaxed), each * self.count);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// The event with this time in its text was committed then.
    pub fn committed(&mut self, sent: u128, at: u128) {
        self.committed.insert(sent, at);
    }

    /// Milliseconds from each commit to each arrival.
    pub fn latencies(&self) -> Vec<f64> {
        let arrivals = self.arrivals.lock().unwrap();
        arrivals.iter().map(|(sent, at)| at.saturating_sub(self.committed[sent]) as f64 / 1_000.0).collect()
    }
}

async fn open(address: SocketAddr, path: String) -> TcpStream {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nHost: bench\r\nAccept: text/event-stream\r\n\r\n");
    socket.write_all(head.as_bytes()).await.unwrap();
    // Byte by byte: what follows the head is an event already.
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&head));
    socket
}

async fn read(mut socket: TcpStream, events: Arc<AtomicUsize>, arrivals: Arrivals, begun: Option<Instant>) {
    let mut buffer = [0_u8; 1_024];
    loop {
        // An event of this bench is one small write and comes as one. Some write a space after the colon, some do not.
        let Ok(n @ 1..) = socket.read(&mut buffer).await else { return };
        events.fetch_add(memchr_count(&buffer[..n], b"data:"), Ordering::Relaxed);
        let Some(begun) = begun else { continue };
        let at = begun.elapsed().as_micros();
        let text = String::from_utf8_lossy(&buffer[..n]);
        for (_, time) in text.match_indices("at=").map(|(at, _)| (at, &text[at + 3..])) {
            let time = time.split(';').next().unwrap().parse().unwrap();
            arrivals.lock().unwrap().push((time, at));
        }
    }
}

fn memchr_count(bytes: &[u8], needle: &[u8]) -> usize {
    bytes.windows(needle.len()).filter(|window| *window == needle).count()
}
