//! Viewers that come back as an EventSource does: after `retry`, with the id of the last event; any answer but 200 ends them.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use eventsource_stream::Eventsource as _;
use futures_util::StreamExt as _;
use sqlx::PgConnection;
use tokio::task::JoinSet;

use crate::until;

/// What browsers wait as long as no stream has said otherwise.
const RETRY: Duration = Duration::from_secs(3);

/// Streams that are opened at once.
const AT_ONCE: usize = 50;

/// Viewers, each of one deployment.
pub struct Viewers {
    tasks: JoinSet<()>,
    open: Arc<AtomicUsize>,
    all: Vec<(String, Arc<Mutex<Seen>>)>,
}

/// What one of them has seen.
#[derive(Default)]
struct Seen {
    /// Ids of events, in the order of their arrival.
    ids: Vec<String>,
    longest_absence: Duration,
    came_back: usize,
}

/// What became of all of them.
#[derive(Debug, Default)]
pub struct Outcome {
    pub delivered: usize,
    /// Events in the table that a viewer has not had.
    pub lost: usize,
    /// Events that came to a viewer again, or before one that is older.
    pub twice: usize,
    pub not_back: usize,
    pub came_back: usize,
    pub longest_absence: Duration,
}

impl Viewers {
    /// One viewer for each of `deployments`; all have a stream when this returns.
    pub async fn open(balancer: SocketAddr, deployments: impl Iterator<Item = String>) -> Self {
        let mut viewers = Self { tasks: JoinSet::new(), open: Arc::default(), all: Vec::new() };
        for deployment in deployments {
            let seen = Arc::<Mutex<Seen>>::default();
            let url = format!("http://{balancer}/api/v1/deploy/{deployment}/events");
            viewers.tasks.spawn(view(url, Arc::clone(&seen), Arc::clone(&viewers.open)));
            viewers.all.push((deployment, seen));
            if viewers.all.len().is_multiple_of(AT_ONCE) {
                viewers.all_open(Duration::from_secs(30)).await;
            }
        }
        assert!(viewers.all_open(Duration::from_secs(30)).await, "not all streams could be opened");
        viewers
    }

    /// Waits until each has a stream; whether that was so in time.
    pub async fn all_open(&self, within: Duration) -> bool {
        until(within, async || self.open.load(Ordering::Relaxed) == self.all.len()).await
    }

    /// Compares what they have had with the table, to which nothing is added any more. What is under way has a moment to arrive.
    pub async fn outcome(mut self, look: &mut PgConnection) -> Outcome {
        let rows: Vec<(String, String)> =
            sqlx::query_as("SELECT deployment_id, id::text FROM deployment_events ORDER BY deployment_id, seq")
                .fetch_all(look)
                .await
                .unwrap();
        let told = |deployment: &str| -> Vec<&str> {
            let from = rows.partition_point(|row| row.0.as_str() < deployment);
            rows[from..].iter().take_while(|row| row.0 == deployment).map(|row| row.1.as_str()).collect()
        };
        let complete = async || self.all.iter().all(|(id, seen)| seen.lock().unwrap().ids.len() >= told(id).len());
        until(Duration::from_secs(15), complete).await;
        let mut outcome =
            Outcome { not_back: self.all.len() - self.open.load(Ordering::Relaxed), ..Outcome::default() };
        self.tasks.shutdown().await;
        for (deployment, seen) in &self.all {
            let (seen, told) = (seen.lock().unwrap(), told(deployment));
            outcome.delivered += seen.ids.len();
            outcome.came_back += usize::from(seen.came_back > 0);
            outcome.longest_absence = outcome.longest_absence.max(seen.longest_absence);
            outcome.lost += told.iter().filter(|id| !seen.ids.iter().any(|had| had == *id)).count();
            // Each event is to be the one after that before it: whatever is not has come before.
            let mut next = 0;
            for id in &seen.ids {
                match told[next..].iter().position(|other| other == id) {
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
                let mut events = answer.bytes_stream().eventsource();
                while let Some(Ok(event)) = events.next().await {
                    retry = event.retry.unwrap_or(retry);
                    seen.lock().unwrap().ids.push(event.id);
                }
                open.fetch_sub(1, Ordering::Relaxed);
            }
            // As an EventSource does, which gives up at any other answer.
            Ok(_) => return,
            // A connection that breaks, or does not come about, is tried again.
            Err(_) => {}
        }
        away.get_or_insert_with(Instant::now);
        tokio::time::sleep(retry).await;
    }
}
