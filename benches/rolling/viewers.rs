//! Viewers that reconnect like an EventSource: after `retry`, with the id of the last event; any answer but 200 ends them.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use panda_testing::sse::{EventStream, field};
use sqlx::PgConnection;
use tokio::task::JoinSet;

use crate::until;

/// Default of browsers until a stream sets another delay.
const RETRY: Duration = Duration::from_secs(3);

const CONCURRENCY: usize = 50;

/// Viewers, each of one deployment.
pub struct Viewers {
    tasks: JoinSet<()>,
    open: Arc<AtomicUsize>,
    all: Vec<(String, Arc<Mutex<Seen>>)>,
}

/// State of one viewer.
#[derive(Default)]
struct Seen {
    /// Ids of events, in the order of arrival.
    ids: Vec<String>,
    longest_absence: Duration,
    came_back: usize,
}

/// Results over all viewers.
#[derive(Debug, Default)]
pub struct Outcome {
    pub delivered: usize,
    /// Events in the table that a viewer has not had.
    pub lost: usize,
    /// Events that a viewer got again, or before an older one.
    pub twice: usize,
    pub not_back: usize,
    pub came_back: usize,
    pub longest_absence: Duration,
}

impl Viewers {
    /// Opens one viewer for each of `deployments`; all have a stream when this returns.
    pub async fn open(balancer: SocketAddr, deployments: impl Iterator<Item = String>) -> Self {
        let mut viewers = Self { tasks: JoinSet::new(), open: Arc::default(), all: Vec::new() };
        for deployment in deployments {
            let seen = Arc::<Mutex<Seen>>::default();
            let url = format!("http://{balancer}/api/v1/deploy/{deployment}/events");
            viewers.tasks.spawn(view(url, Arc::clone(&seen), Arc::clone(&viewers.open)));
            viewers.all.push((deployment, seen));
            if viewers.all.len().is_multiple_of(CONCURRENCY) {
                viewers.all_open(Duration::from_secs(30)).await;
            }
        }
        assert!(viewers.all_open(Duration::from_secs(30)).await, "not all streams could be opened");
        viewers
    }

    /// Waits until each viewer has a stream; false when the time limit passes first.
    pub async fn all_open(&self, within: Duration) -> bool {
        until(within, async || self.open.load(Ordering::Relaxed) == self.all.len()).await
    }

    /// Compares the viewers' events with the table, to which nothing is added any more, after a moment for events in transit.
    pub async fn outcome(mut self, look: &mut PgConnection) -> Outcome {
        let rows: Vec<(String, String)> =
            sqlx::query_as("SELECT deployment_id, id::text FROM deployment_events ORDER BY deployment_id, seq")
                .fetch_all(look)
                .await
                .unwrap();
        let expected = |deployment: &str| -> Vec<&str> {
            let from = rows.partition_point(|row| row.0.as_str() < deployment);
            rows[from..].iter().take_while(|row| row.0 == deployment).map(|row| row.1.as_str()).collect()
        };
        let complete = async || self.all.iter().all(|(id, seen)| seen.lock().unwrap().ids.len() >= expected(id).len());
        until(Duration::from_secs(15), complete).await;
        let mut outcome =
            Outcome { not_back: self.all.len() - self.open.load(Ordering::Relaxed), ..Outcome::default() };
        self.tasks.shutdown().await;
        for (deployment, seen) in &self.all {
            let (seen, expected) = (seen.lock().unwrap(), expected(deployment));
            outcome.delivered += seen.ids.len();
            outcome.came_back += usize::from(seen.came_back > 0);
            outcome.longest_absence = outcome.longest_absence.max(seen.longest_absence);
            outcome.lost += expected.iter().filter(|id| !seen.ids.iter().any(|had| had == *id)).count();
            // Each event has to follow its predecessor directly: an event that does not was delivered before.
            let mut next = 0;
            for id in &seen.ids {
                match expected[next..].iter().position(|other| other == id) {
                    Some(place) => next += place + 1,
                    None => outcome.twice += 1,
                }
            }
        }
        outcome
    }
}

async fn view(url: String, seen: Arc<Mutex<Seen>>, open: Arc<AtomicUsize>) {
    let http = reqwest::Client::builder().pool_max_idle_per_host(0).build().unwrap();
    let (mut retry, mut away): (Duration, Option<Instant>) = (RETRY, None);
    loop {
        let mut request = http.get(&url).header("accept", "text/event-stream");
        if let Some(last) = seen.lock().unwrap().ids.last() {
            request = request.header("last-event-id", last);
        }
        match request.send().await {
            Ok(answer) if answer.status() == 200 => {
                if let Some(away) = away.take() {
                    let mut seen = seen.lock().unwrap();
                    seen.longest_absence = seen.longest_absence.max(away.elapsed());
                    seen.came_back += 1;
                }
                open.fetch_add(1, Ordering::Relaxed);
                let mut events = EventStream::of(answer);
                while let Some(event) = events.next().await {
                    let millis = field(&event, "retry").and_then(|millis| millis.parse().ok());
                    retry = millis.map_or(retry, Duration::from_millis);
                    seen.lock().unwrap().ids.extend(field(&event, "id").map(str::to_owned));
                }
                open.fetch_sub(1, Ordering::Relaxed);
            }
            // Ends at any other answer, as an EventSource does.
            Ok(_) => return,
            // Retries after a connection that broke or could not be opened.
            Err(_) => {}
        }
        away.get_or_insert_with(Instant::now);
        tokio::time::sleep(retry).await;
    }
}
