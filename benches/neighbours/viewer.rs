//! A deployment that the bench advances, and a viewer of its stream.

use std::time::{Duration, Instant};

use panda::db::Db;
use panda::domain::Deployment;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::support::postgres::Database;
use crate::support::rows;

/// See the module.
pub struct Watched {
    db: Db,
    me: Uuid,
    row: Deployment,
    appended: usize,
}

/// What became of the events of one phase.
pub struct Told {
    /// Commits a second.
    pub commits: f64,
    /// From the commit's return to the viewer, in milliseconds.
    pub latencies_ms: Vec<f64>,
}

impl Watched {
    /// A new one.
    pub async fn create(database: &Database) -> Self {
        let (me, mut rows) = rows::own(&database.db, "watched", 1).await;
        Self { db: database.db.clone(), me, row: rows.remove(0), appended: 0 }
    }

    /// Appends `rate` events a second, which a viewer at `base` reads.
    pub async fn append_for(&mut self, window: Duration, rate: u32, base: &str, token: &str) -> Told {
        let mut seen = read(&format!("{base}/api/v1/deploy/{}/events", self.row.id), token, self.appended).await;
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
        let (begun, mut committed) = (Instant::now(), Vec::new());
        while begun.elapsed() < window {
            ticks.tick().await;
            let change = rows::build_line(self.appended, format!("line {}", self.appended));
            rows::append(&self.db, &mut self.row, self.me, change).await;
            self.appended += 1;
            committed.push(Instant::now());
        }
        let commits = committed.len() as f64 / begun.elapsed().as_secs_f64();
        let mut latencies_ms = Vec::new();
        for at in committed {
            let arrived =
                tokio::time::timeout(Duration::from_secs(30), seen.recv()).await.expect("never told").unwrap();
            latencies_ms.push(arrived.saturating_duration_since(at).as_secs_f64() * 1_000.0);
        }
        Told { commits, latencies_ms }
    }
}

/// When each event after the first `skipped` arrives. Returns once these have.
async fn read(url: &str, token: &str, skipped: usize) -> mpsc::UnboundedReceiver<Instant> {
    let mut stream =
        reqwest::Client::new().get(url).bearer_auth(token).send().await.unwrap().error_for_status().unwrap();
    let (told, seen) = mpsc::unbounded_channel();
    let (caught_up, ready) = tokio::sync::oneshot::channel();
    let mut caught_up = Some(caught_up);
    if skipped == 0 {
        let _ = caught_up.take().map(|caught_up| caught_up.send(()));
    }
    tokio::spawn(async move {
        let (mut events, mut rest) = (0, Vec::new());
        while let Ok(Some(chunk)) = stream.chunk().await {
            let at = Instant::now();
            rest.extend_from_slice(&chunk);
            while let Some(end) = rest.windows(2).position(|two| two == b"\n\n") {
                let frame: Vec<u8> = rest.drain(..end + 2).collect();
                if !frame.starts_with(b"id:") {
                    continue;
                }
                events += 1;
                if events > skipped && told.send(at).is_err() {
                    return;
                }
                if events == skipped {
                    let _ = caught_up.take().map(|caught_up| caught_up.send(()));
                }
            }
        }
    });
    let _ = ready.await;
    seen
}
