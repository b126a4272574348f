//! Who reads a deployment's stream through whichever replicas there are: comes back with the id of the last event when a connection ends.

use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use eventsource_stream::Eventsource as _;
use futures_util::StreamExt as _;
use tokio::task::JoinHandle;

/// Between two connections; a browser waits for five seconds.
const PAUSE: Duration = Duration::from_millis(50);

/// The replicas that new connections are sent to.
#[derive(Clone, Default)]
pub struct Service(Arc<RwLock<Vec<String>>>);

impl Service {
    pub fn add(&self, base: &str) {
        self.0.write().unwrap().push(base.to_owned());
    }

    pub fn remove(&self, base: &str) {
        self.0.write().unwrap().retain(|known| known != base);
    }

    /// One of them, each in turn; none while nobody serves.
    fn pick(&self, turn: usize) -> Option<String> {
        let known = self.0.read().unwrap();
        known.get(turn % known.len().max(1)).cloned()
    }
}

/// Reads until it is dropped.
pub struct Reader {
    seen: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Reader {
    pub fn start(service: Service, id: &str) -> Self {
        let seen = Arc::<Mutex<Vec<String>>>::default();
        let (read, path) = (Arc::clone(&seen), format!("/api/v1/deploy/{id}/events"));
        let task = tokio::spawn(async move {
            let http = reqwest::Client::new();
            for turn in 0.. {
                // Nothing of the connection's end is looked at: what counts is what came.
                if let Some(base) = service.pick(turn) {
                    connection(&http, &format!("{base}{path}"), &read).await;
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
        Self { seen, task }
    }

    /// The ids so far.
    pub fn seen(&self) -> Vec<String> {
        assert!(!self.task.is_finished(), "it met an answer that ends a browser's EventSource");
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn connection(http: &reqwest::Client, url: &str, seen: &Mutex<Vec<String>>) {
    let last = seen.lock().unwrap().last().cloned();
    let request = last.into_iter().fold(http.get(url), |request, last| request.header("Last-Event-ID", last));
    let Ok(answer) = request.send().await else { return };
    // 204: nothing more can come until a person acts.
    assert!([200, 204].contains(&answer.status().as_u16()), "{url}: {}", answer.status());
    let mut events = answer.bytes_stream().eventsource();
    while let Some(Ok(event)) = events.next().await {
        seen.lock().unwrap().push(event.id);
    }
}
