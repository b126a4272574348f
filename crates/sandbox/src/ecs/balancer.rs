//! One listener of the load balancer: an HTTP proxy whose target can change between two requests.
//!
//! Looks up the target for each request, as a load balancer does; through a TCP relay, a kept-alive connection
//! would still reach blue after the switch. Does not relay upgrades (`WebSocket`).

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::{Body, HttpBody};
use axum::http::{HeaderMap, HeaderName, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::RwLock;
use tokio::net::TcpListener;

use super::super::tasks::Tasks;

const HOP_BY_HOP: [HeaderName; 6] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::TE,
    header::TRAILER,
    header::UPGRADE,
    header::PROXY_AUTHENTICATE,
];

/// Targets with their weights; requests get 503 without one.
type Route = Arc<RwLock<WeightedTargets>>;

#[derive(Debug, Default)]
struct WeightedTargets {
    targets: Vec<(SocketAddr, u32)>,
    requests: AtomicU64,
}

impl WeightedTargets {
    /// The target of the next request: over as many requests as the weights add up to, each target gets its share.
    fn next(&self) -> Option<SocketAddr> {
        let total: u64 = self.targets.iter().map(|(_, weight)| u64::from(*weight)).sum();
        let mut number = self.requests.fetch_add(1, Ordering::Relaxed).checked_rem(total)?;
        self.targets.iter().find_map(|&(target, weight)| {
            let below = number < u64::from(weight);
            number = number.saturating_sub(u64::from(weight));
            below.then_some(target)
        })
    }
}

/// A loopback port and the targets of its requests.
pub struct BalancerListener {
    address: SocketAddr,
    route: Route,
}

impl BalancerListener {
    /// Listens on a free port until the sandbox stops.
    pub async fn open(tasks: &Tasks, http: reqwest::Client) -> std::io::Result<Self> {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let listener = Self { address: socket.local_addr()?, route: Route::default() };
        let route = Arc::clone(&listener.route);
        let shared = tasks.clone();
        tasks.spawn(async move {
            loop {
                let Ok((stream, _)) = socket.accept().await else {
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                    continue;
                };
                let (route, http) = (Arc::clone(&route), http.clone());
                shared.spawn(async move {
                    let service = service_fn(|request| forward(&http, &route, request));
                    // Ignored: the client may disconnect at any time.
                    let _ = http1::Builder::new()
                        .timer(TokioTimer::new())
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Ok(listener)
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Sets the target from the next request on. Without a target, requests get 503.
    pub fn point_to(&self, target: Option<SocketAddr>) {
        self.divide(target.map(|target| (target, 1)).into_iter().collect());
    }

    /// Divides the requests among targets by their weights.
    pub fn divide(&self, targets: Vec<(SocketAddr, u32)>) {
        *self.route.write() = WeightedTargets { targets, requests: AtomicU64::default() };
    }
}

async fn forward(
    http: &reqwest::Client,
    route: &Route,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let target = route.read().next();
    let Some(target) = target else {
        return Ok(own(StatusCode::SERVICE_UNAVAILABLE, "no healthy target\n"));
    };
    Ok(relay(http, target, request).await.unwrap_or_else(|error| {
        tracing::debug!(%error, %target, "sandbox balancer: target did not answer");
        own(StatusCode::BAD_GATEWAY, "the target did not answer\n")
    }))
}

async fn relay(
    http: &reqwest::Client,
    target: SocketAddr,
    request: Request<Incoming>,
) -> Result<Response<Body>, reqwest::Error> {
    let (mut parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    strip(&mut parts.headers);
    let mut outgoing = http.request(parts.method, format!("http://{target}{path}")).headers(parts.headers);
    if !body.is_end_stream() {
        outgoing = outgoing.body(reqwest::Body::wrap_stream(Body::new(body).into_data_stream()));
    }
    let answer = outgoing.send().await?;
    let mut response = Response::new(());
    *response.status_mut() = answer.status();
    *response.headers_mut() = answer.headers().clone();
    strip(response.headers_mut());
    Ok(response.map(|()| Body::from_stream(answer.bytes_stream())))
}

fn strip(headers: &mut HeaderMap) {
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

fn own(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response
}
