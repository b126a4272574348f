//! A real HTTP receiver of webhooks: it verifies each request with a third-party library, keeps it, and answers as the test decides.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use serde_json::Value;
use standardwebhooks::Webhook;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// The receiver's next answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    Status(u16),
    /// 503 with `Retry-After` in seconds.
    Later(u64),
    /// 302 to another path of this receiver.
    Redirect,
    /// No answer, for ever.
    Never,
    /// 200, after a while.
    Slow(Duration),
    /// 200 with a body that never ends.
    Endless,
}

/// A request that arrived.
#[derive(Clone, Debug)]
pub struct Received {
    pub path: String,
    pub id: String,
    pub signatures: Vec<String>,
    pub headers: HeaderMap,
    pub bytes: Vec<u8>,
    pub body: Value,
    pub reply: Reply,
}

impl Received {
    /// The deployment and sequence number of its event.
    pub fn place(&self) -> (String, i64) {
        let data = &self.body["data"];
        (data["deploymentId"].as_str().unwrap_or_default().to_owned(), data["sequence"].as_i64().unwrap_or_default())
    }

    /// Verifies the signature with the reference library.
    pub fn verify(&self, secret: &str) -> Result<(), String> {
        let webhook = Webhook::new(secret).map_err(|error| error.to_string())?;
        webhook.verify(&self.bytes, &self.headers).map_err(|error| error.to_string())
    }
}

type Script = Box<dyn Fn(&Received) -> Reply + Send + Sync>;

struct Shared {
    received: Mutex<Vec<Received>>,
    script: Mutex<Script>,
    concurrent: AtomicUsize,
    most: AtomicUsize,
}

pub struct Receiver {
    pub url: String,
    shared: Arc<Shared>,
    stop: CancellationToken,
}

impl Receiver {
    /// A receiver that accepts everything.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            received: Mutex::default(),
            script: Mutex::new(Box::new(|_| Reply::Status(204))),
            concurrent: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
        });
        let (app, stop) = (Router::new().fallback(receive).with_state(Arc::clone(&shared)), CancellationToken::new());
        let stopped = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                served = axum::serve(listener, app) => served.unwrap(),
                () = stopped.cancelled() => {}
            }
        });
        Self { url, shared, stop }
    }

    /// Answers from now on as `script` decides.
    pub fn script(&self, script: impl Fn(&Received) -> Reply + Send + Sync + 'static) {
        *self.shared.script.lock() = Box::new(script);
    }

    pub fn answer(&self, reply: Reply) {
        self.script(move |_| reply);
    }

    pub fn received(&self) -> Vec<Received> {
        self.shared.received.lock().clone()
    }

    /// The accepted events by deployment, in the order of arrival.
    pub fn accepted(&self) -> HashMap<String, Vec<i64>> {
        let mut accepted: HashMap<String, Vec<i64>> = HashMap::new();
        for one in self.received() {
            if matches!(one.reply, Reply::Status(200..=299) | Reply::Slow(_) | Reply::Endless) {
                let (deployment, seq) = one.place();
                accepted.entry(deployment).or_default().push(seq);
            }
        }
        accepted
    }

    /// Sequence numbers that were accepted of a deployment.
    pub fn of(&self, deployment: &str) -> Vec<i64> {
        self.accepted().remove(deployment).unwrap_or_default()
    }

    /// Most requests that were open concurrently.
    pub fn most_concurrent(&self) -> usize {
        self.shared.most.load(Ordering::SeqCst)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn receive(State(shared): State<Arc<Shared>>, request: axum::extract::Request) -> Response {
    let now = shared.concurrent.fetch_add(1, Ordering::SeqCst) + 1;
    shared.most.fetch_max(now, Ordering::SeqCst);
    let (parts, body) = request.into_parts();
    let bytes = axum::body::to_bytes(body, 1 << 20).await.unwrap().to_vec();
    let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut one = Received {
        path: parts.uri.path().to_owned(),
        id: header("webhook-id").to_owned(),
        signatures: header("webhook-signature").split(' ').map(str::to_owned).collect(),
        body: serde_json::from_slice(&bytes).unwrap_or_default(),
        headers: parts.headers,
        bytes,
        reply: Reply::Never,
    };
    let reply = (shared.script.lock())(&one);
    one.reply = reply;
    shared.received.lock().push(one);
    let answer = match reply {
        Reply::Status(status) => StatusCode::from_u16(status).unwrap().into_response(),
        Reply::Later(seconds) => {
            (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", seconds.to_string())]).into_response()
        }
        Reply::Redirect => (StatusCode::FOUND, [("location", "/elsewhere")]).into_response(),
        Reply::Never => std::future::pending().await,
        Reply::Slow(wait) => {
            tokio::time::sleep(wait).await;
            StatusCode::OK.into_response()
        }
        Reply::Endless => {
            let chunks = futures_util::stream::repeat_with(|| Ok::<_, std::convert::Infallible>(vec![b'x'; 4_096]));
            Body::from_stream(chunks).into_response()
        }
    };
    shared.concurrent.fetch_sub(1, Ordering::SeqCst);
    answer
}
