//! Clients that read and count, with one socket and one buffer each. Their cost is not measured, but they share the machine.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

const CONCURRENCY: usize = 100;

/// Pairs of times: the one in an event's text, and that of its arrival.
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

    /// Adds viewers for events with a time in their text.
    pub async fn add_timed(&mut self, address: SocketAddr, path: &str, count: usize, begun: Instant) {
        self.add(address, path, count, Some(begun)).await;
    }

    async fn add(&mut self, address: SocketAddr, path: &str, count: usize, begun: Option<Instant>) {
        for batch in (0..count).step_by(CONCURRENCY) {
            let mut opening = JoinSet::new();
            for _ in batch..count.min(batch + CONCURRENCY) {
                let ask = Ask { path: path.to_owned(), last_event_id: None };
                opening.spawn(async move { open(address, &ask).await });
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

    /// Records the commit time of the event with this time in its text.
    pub fn committed(&mut self, sent: u128, at: u128) {
        self.committed.insert(sent, at);
    }

    /// Returns the milliseconds from each commit to each arrival.
    pub fn latencies(&self) -> Vec<f64> {
        let arrivals = self.arrivals.lock().unwrap();
        // Events published before these viewers connected come from the history, and do not count.
        let committed = arrivals.iter().filter_map(|(sent, at)| Some((self.committed.get(sent)?, at)));
        committed.map(|(committed, at)| at.saturating_sub(*committed) as f64 / 1_000.0).collect()
    }
}

/// Request of a reader.
pub struct Ask {
    pub path: String,
    pub last_event_id: Option<String>,
}

/// Opens a stream and reads its head.
pub async fn open(address: SocketAddr, ask: &Ask) -> TcpStream {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let resume = ask.last_event_id.as_ref().map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
    let path = &ask.path;
    let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n{resume}\r\n");
    socket.write_all(head.as_bytes()).await.unwrap();
    // Byte by byte, because an event may follow the head immediately.
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&head));
    socket
}

async fn read(mut socket: TcpStream, events: Arc<AtomicUsize>, arrivals: Arrivals, begun: Option<Instant>) {
    let (mut buffer, mut kept) = ([0_u8; 4_096], 0);
    loop {
        // Some servers write a space after the colon, some do not. A history arrives in larger pieces with arbitrary ends.
        let Ok(n @ 1..) = socket.read(&mut buffer[kept..]).await else { return };
        let whole = kept + n;
        let end = memchr_last(&buffer[..whole], b"\n\n").unwrap_or(0);
        events.fetch_add(memchr_count(&buffer[..end], b"data:"), Ordering::Relaxed);
        if let Some(begun) = begun {
            let at = begun.elapsed().as_micros();
            let text = String::from_utf8_lossy(&buffer[..end]);
            for (place, _) in text.match_indices("at=") {
                let time = text[place + 3..].split(';').next().unwrap().parse().unwrap();
                arrivals.lock().unwrap().push((time, at));
            }
        }
        buffer.copy_within(end..whole, 0);
        kept = whole - end;
    }
}

/// Returns the index just behind the last match.
fn memchr_last(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).rposition(|window| window == needle).map(|at| at + needle.len())
}

fn memchr_count(bytes: &[u8], needle: &[u8]) -> usize {
    bytes.windows(needle.len()).filter(|window| *window == needle).count()
}
