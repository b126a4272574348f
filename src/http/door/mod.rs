//! What every request has to pass before a handler sees it, and what every answer carries: limits of rate and time, where a page may
//! call from, headers for browsers. Who somebody is, is not asked here.

pub mod headers;
mod host;
mod origin;
mod rate;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::client::{Peer, Proxies};
use super::error::ApiError;
use crate::config::HttpConfig;
use rate::Rates;

/// Never refused for their rate: an orchestrator ends the process when they are, and may ask from the address of everybody.
pub const PROBES: [&str; 2] = ["/healthz", "/readyz"];

/// The rules of the door: cheap to clone.
#[derive(Clone, Debug)]
pub struct Door {
    rates: Arc<Rates>,
    config: Arc<HttpConfig>,
}

impl Door {
    /// As `config` has it.
    pub fn new(config: &HttpConfig) -> Self {
        Self {
            rates: Arc::new(Rates::new(config.rate_per_client, config.rate_per_token)),
            config: Arc::new(config.clone()),
        }
    }

    fn refusal(&self, request: &Request) -> Option<ApiError> {
        if !PROBES.contains(&request.uri().path()) {
            // Only a router that is called without a connection has no peer.
            let peer = request.extensions().get().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |Peer(peer)| *peer);
            let client = Proxies::from(&*self.config).client(peer, request.headers());
            if let Err(refused) = self.rates.check(client, request.headers()) {
                return Some(refused);
            }
        }
        // Counted before: a client that is refused here is not free to ask again and again.
        host::refusal(request)
            .or_else(|| origin::refusal(request.method(), request.headers(), &self.config.cors_origins))
    }
}

/// Lets a request through, or not; and not for ever. What is dropped half-way is what a client that hangs up leaves: each handler is
/// written for that.
pub async fn guard(State(door): State<Door>, request: Request, next: Next) -> Response {
    if let Some(refused) = door.refusal(&request) {
        return refused.into_response();
    }
    let limit = door.config.request_timeout;
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::TimedOut { limit }.into_response(),
    }
}
