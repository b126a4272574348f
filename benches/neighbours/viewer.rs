//! A deployment that the bench advances, and a viewer of its stream.

use std::time::{Duration, Instant};

use panda::db::Db;
use panda::db::commit::Change;
use panda::domain::Deployment;
use panda_testing::sse::EventStream;
use tokio::sync::mpsc;
use uuid::Uuid;

use panda_benches::rows;

pub struct Watched {
    db: Db,
    me: Uuid,
    row: Deployment,
    appended: usize,
}

/// Results for the events of one phase.
pub struct PhaseResult {
    pub commits: f64,
    /// Milliseconds from the commit's return to the viewer.
    pub latencies_ms: Vec<f64>,
    /// The longest time between two commits.
    pub longest_pause: Duration,
}

impl Watched {
    /// Inserts a deployment without events.
    pub async fn create(db: &Db) -> Self {
        let (me, mut rows) = rows::own(db, "watched", 1).await;
        Self { db: db.clone(), me, row: rows.remove(0), appended: 0 }
    }

    /// Appends `rate` events per second, which a viewer at `base` reads.
    pub async fn append_for(&mut self, window: Duration, rate: u32, base: &str, token: &str) -> PhaseResult {
        let mut seen = read(&format!("{base}/api/v1/deploy/{}/events", self.row.id), token, self.appended).await;
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
        let (begun, mut committed) = (Instant::now(), Vec::new());
        while begun.elapsed() < window {
            ticks.tick().await;
            let change = rows::build_line(self.appended, format!("line {}", self.appended));
            self.append(change).await;
            // As the reconciler does after a commit.
            let _ = self.db.notify_events(std::slice::from_ref(&self.row.id)).await;
            self.appended += 1;
            committed.push(Instant::now());
        }
        let commits = committed.len() as f64 / begun.elapsed().as_secs_f64();
        let pauses = committed.windows(2).map(|two| two[1] - two[0]);
        let longest_pause = pauses.max().unwrap_or_default();
        let mut latencies_ms = Vec::new();
        for at in committed {
            let arrived =
                tokio::time::timeout(Duration::from_secs(30), seen.recv()).await.expect("event never arrived").unwrap();
            latencies_ms.push(arrived.saturating_duration_since(at).as_secs_f64() * 1_000.0);
        }
        PhaseResult { commits, latencies_ms, longest_pause }
    }

    /// Commits `change` as a replica does: after an error it reloads the row and retries, until a database accepts the change.
    async fn append(&mut self, change: Change) {
        while let Err(error) = self.db.commit(&mut self.row, self.me, change.clone()).await {
            assert!(error.is_unavailable(), "{error}");
            tokio::time::sleep(Duration::from_millis(20)).await;
            if let Ok(mut rows) = self.db.load_owned(self.me, std::slice::from_ref(&self.row.id)).await {
                self.row = rows.pop().expect("the bench owns it");
            }
        }
    }
}

/// Sends the arrival time of each event after the first `skipped`. Returns once those have arrived.
async fn read(url: &str, token: &str, skipped: usize) -> mpsc::UnboundedReceiver<Instant> {
    let answer = reqwest::Client::new().get(url).bearer_auth(token).send().await.unwrap();
    let mut stream = EventStream::of(answer.error_for_status().unwrap());
    let (sender, seen) = mpsc::unbounded_channel();
    let (caught_up, ready) = tokio::sync::oneshot::channel();
    let mut caught_up = Some(caught_up);
    if skipped == 0 {
        let _ = caught_up.take().map(|caught_up| caught_up.send(()));
    }
    tokio::spawn(async move {
        let mut events = 0;
        while stream.next().await.is_some() {
            let at = Instant::now();
            events += 1;
            if events > skipped && sender.send(at).is_err() {
                return;
            }
            if events == skipped {
                let _ = caught_up.take().map(|caught_up| caught_up.send(()));
            }
        }
    });
    let _ = ready.await;
    seen
}
