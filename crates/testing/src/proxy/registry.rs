//! A fault proxy before a registry: selected requests are answered with an error, or lose their reply.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Response, StatusCode};
use futures_util::future::BoxFuture;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;

use super::FaultProxy;
use super::fault::Connection;

/// The fault of a request.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// Never reaches the registry: answered with a status and an error code of the registry's protocol.
    Refuse(u16, &'static str, &'static str),
    /// Reaches the registry, but the client receives a gateway's 502.
    LoseReply,
}

struct Rule {
    method: &'static str,
    path: &'static str,
    fault: Fault,
    times: u32,
}

struct Proxied {
    server: String,
    rules: Arc<Mutex<Vec<Rule>>>,
    client: reqwest::Client,
}

/// The proxy; dropping it cuts its connections.
pub struct RegistryProxy {
    proxy: FaultProxy,
    rules: Arc<Mutex<Vec<Rule>>>,
}

impl RegistryProxy {
    /// A proxy before the registry at `host:port`.
    pub async fn before(registry: String) -> Self {
        let rules = Arc::<Mutex<Vec<Rule>>>::default();
        let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let applied = Arc::clone(&rules);
        let carry = move |connection| {
            let (rules, client) = (Arc::clone(&applied), client.clone());
            let future: BoxFuture<'static, ()> = Box::pin(answer_requests(connection, rules, client));
            future
        };
        Self { proxy: FaultProxy::start(&[registry], Arc::new(carry)).await, rules }
    }

    /// `host:port`, as in an image's name.
    pub fn host_port(&self) -> String {
        self.proxy.address().to_string()
    }

    /// Applies `fault` to the next `times` requests of `method` whose path contains `path`.
    pub fn fail(&self, method: &'static str, path: &'static str, fault: Fault, times: u32) {
        self.rules.lock().unwrap().push(Rule { method, path, fault, times });
    }

    /// Serves every request again.
    pub fn heal(&self) {
        self.rules.lock().unwrap().clear();
    }

    /// Number of requests that are still to meet a fault.
    pub fn left(&self) -> u32 {
        self.rules.lock().unwrap().iter().map(|rule| rule.times).sum()
    }
}

async fn answer_requests(connection: Connection, rules: Arc<Mutex<Vec<Rule>>>, client: reqwest::Client) {
    let Some(server) = connection.server else { return };
    let app = Router::new().fallback(pass).with_state(Arc::new(Proxied { server, rules, client }));
    let (io, service) = (TokioIo::new(connection.near), TowerToHyperService::new(app));
    // A client that closes its connection is no failure.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
}

async fn pass(State(proxied): State<Arc<Proxied>>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let fault = {
        let mut rules = proxied.rules.lock().unwrap();
        let meets =
            |rule: &&mut Rule| rule.times > 0 && parts.method == rule.method && parts.uri.path().contains(rule.path);
        rules.iter_mut().find(meets).map(|rule| {
            rule.times -= 1;
            rule.fault
        })
    };
    let body = to_bytes(body, 64 << 20).await.unwrap_or_default();
    if let Some(Fault::Refuse(status, code, message)) = fault {
        let errors = serde_json::json!({"errors": [{"code": code, "message": message}]});
        return answer(status, Bytes::from(errors.to_string()), Some("application/json"));
    }
    let url = format!("http://{}{}", proxied.server, parts.uri);
    let mut headers = parts.headers;
    headers.remove("transfer-encoding");
    headers.remove("content-length");
    let sent = proxied.client.request(parts.method, url).headers(headers).body(body).send().await;
    let Ok(received) = sent else { return answer(502, Bytes::new(), None) };
    if matches!(fault, Some(Fault::LoseReply)) {
        return answer(502, Bytes::new(), None);
    }
    let mut passed = Response::builder().status(received.status());
    if let Some(headers) = passed.headers_mut() {
        *headers = received.headers().clone();
        headers.remove("transfer-encoding");
    }
    passed.body(Body::from(received.bytes().await.unwrap_or_default())).unwrap()
}

fn answer(status: u16, body: Bytes, content_type: Option<&'static str>) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    if let Some(content_type) = content_type {
        response.headers_mut().insert("content-type", HeaderValue::from_static(content_type));
    }
    response
}
