//! A reader that reconnects with the id of the last event, through any replica of a service.

use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use tokio::task::JoinHandle;

use super::{EventStream, field};

/// Pause between two connections; a browser waits for five seconds.
const PAUSE: Duration = Duration::from_millis(50);

/// The addresses for new connections.
#[derive(Clone, Default)]
pub struct Service(Arc<RwLock<Vec<String>>>);

impl Service {
    pub fn add(&self, base: &str) {
        self.0.write().unwrap().push(base.to_owned());
    }

    pub fn remove(&self, base: &str) {
        self.0.write().unwrap().retain(|known| known != base);
    }

    /// One of the replicas in rotation; none while no replica serves.
    fn pick(&self, turn: usize) -> Option<String> {
        let known = self.0.read().unwrap();
        known.get(turn % known.len().max(1)).cloned()
    }
}

/// Reads until it is dropped.
pub struct Follower {
    seen: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Follower {
    pub fn start(service: Service, id: &str) -> Self {
        let seen = Arc::<Mutex<Vec<String>>>::default();
        let (read, path) = (Arc::clone(&seen), format!("/api/v1/deploy/{id}/events"));
        let task = tokio::spawn(async move {
            let http = reqwest::Client::new();
            for turn in 0.. {
                // The kind of the connection's end is ignored: only the received events count.
                if let Some(base) = service.pick(turn) {
                    connection(&http, &format!("{base}{path}"), &read).await;
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
        Self { seen, task }
    }

    /// Ids of the events that it has received, in their order.
    pub fn seen(&self) -> Vec<String> {
        assert!(!self.task.is_finished(), "an answer would have ended a browser's EventSource");
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn connection(http: &reqwest::Client, url: &str, seen: &Mutex<Vec<String>>) {
    let last = seen.lock().unwrap().last().cloned();
    let request = last.into_iter().fold(http.get(url), |request, last| request.header("Last-Event-ID", last));
    let Ok(answer) = request.send().await else { return };
    // 204: no event can follow without a command.
    assert!([200, 204].contains(&answer.status().as_u16()), "{url}: {}", answer.status());
    let mut events = EventStream::of(answer);
    while let Some(event) = events.next().await {
        seen.lock().unwrap().extend(field(&event, "id").map(str::to_owned));
    }
}
