//! Restart of a replica with thousands of open streams: the time until all readers have reconnected, and lost events.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::serve;
use crate::viewers::{Ask, open};
use panda_benches::postgres::Database;
use panda_benches::rows::{append, build_line, own};

/// Delay of an EventSource before it reconnects: the stream's own `retry`.
const RETRY: Duration = Duration::from_secs(5);

/// Outcome of a restart.
pub struct Restart {
    /// Time from SIGTERM to the end of the process.
    pub exit: Duration,
    /// Time from SIGTERM until the last reader has its next event from the other replica.
    pub back: Duration,
    /// Readers that got an answer other than a stream, a repeated event, or missed one.
    pub lost: usize,
}

/// Opens `count` streams of one deployment at one of two replicas, ends that replica, and publishes one more event.
pub async fn restart(database: &Database, count: usize) -> Restart {
    let db = &database.db;
    let (me, mut rows) = own(db, "shop", 1).await;
    let row = &mut rows[0];
    append(db, row, me, build_line(0, "before".into())).await;
    let (mut first, second) = (serve(database).await, serve(database).await);
    let path = format!("/api/v1/deploy/{}/events", row.id);
    let (from, to) = (first.address(), second.address());
    let (ready, back) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut readers = JoinSet::new();
    for _ in 0..count {
        readers.spawn(reader(from, to, path.clone(), Arc::clone(&ready), Arc::clone(&back)));
        // Limits concurrent connects to the kernel's accept queue.
        while readers.len() - ready.load(Ordering::Relaxed) > 100 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    until(&ready, count).await;
    let begun = Instant::now();
    let exit = first.terminate().await;
    // Published while no reader is connected, so that only resuming delivers it.
    append(db, row, me, build_line(1, "after".into())).await;
    until(&back, count).await;
    let back = begun.elapsed();
    let outcomes = readers.join_all().await;
    Restart { exit, back, lost: outcomes.into_iter().filter(|whole| !whole).count() }
}

async fn until(counter: &AtomicUsize, count: usize) {
    let deadline = Instant::now() + Duration::from_mins(2);
    while counter.load(Ordering::Relaxed) < count {
        assert!(Instant::now() < deadline, "{} of {count}", counter.load(Ordering::Relaxed));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Runs one reader. Returns whether it got each event once, and a stream each time.
async fn reader(
    from: SocketAddr,
    to: SocketAddr,
    path: String,
    ready: Arc<AtomicUsize>,
    back: Arc<AtomicUsize>,
) -> bool {
    let mut seen = Seen::default();
    let mut socket = open(from, &Ask { path: path.clone(), last_event_id: None }).await;
    while seen.events == 0 && seen.read(&mut socket).await {}
    ready.fetch_add(1, Ordering::Relaxed);
    while seen.read(&mut socket).await {}
    drop(socket);
    tokio::time::sleep(RETRY).await;
    let mut socket = open(to, &Ask { path, last_event_id: Some(seen.last_id.clone()) }).await;
    while seen.events < 2 && seen.read(&mut socket).await {}
    back.fetch_add(1, Ordering::Relaxed);
    seen.events == 2 && seen.before == 1
}

#[derive(Default)]
struct Seen {
    events: usize,
    /// Number of deliveries of the first event.
    before: usize,
    last_id: String,
}

impl Seen {
    /// Reads once; false at the end of the stream.
    async fn read(&mut self, socket: &mut TcpStream) -> bool {
        let mut buffer = [0_u8; 1_024];
        let Ok(n @ 1..) = socket.read(&mut buffer).await else { return false };
        // An event of this bench is one small write and arrives in one read.
        let text = String::from_utf8_lossy(&buffer[..n]);
        self.events += text.matches("data:").count();
        self.before += text.matches("before").count();
        if let Some((_, id)) = text.rsplit_once("id: ") {
            id.lines().next().unwrap_or_default().clone_into(&mut self.last_id);
        }
        true
    }
}
