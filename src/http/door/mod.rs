//! What every request has to pass before a handler sees it, and what every answer carries: limits of rate and time, where a page may
//! call from, headers for browsers. Who somebody is, is not asked here.

pub mod headers;
mod origin;
mod rate;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::client::{Peer, client};
use super::error::ApiError;
use crate::config::HttpConfig;
use crate::domain::network::Network;
use rate::Rates;

/// Never refused for their rate: an orchestrator ends the process when they are, and may ask from the address of everybody.
pub const PROBES: [&str; 2] = ["/healthz", "/readyz"];

/// The rules of the door: cheap to clone.
#[derive(Clone, Debug)]
pub struct Door {
    rates: Arc<Rates>,
    origins: Arc<[String]>,
    proxies: Arc<[Network]>,
    patience: Duration,
}

impl Door {
    /// As `config` has it.
    pub fn new(config: &HttpConfig) -> Self {
        Self {
            rates: Arc::new(Rates::new(config.rate_per_client, config.rate_per_token)),
            origins: config.cors_origins.clone().into(),
            proxies: config.trusted_proxies.clone().into(),
            patience: config.request_timeout,
        }
    }

    fn refusal(&self, request: &Request) -> Option<ApiError> {
        if !PROBES.contains(&request.uri().path()) {
            // Only a router that is called without a connection has no peer.
            let peer = request.extensions().get().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |Peer(peer)| *peer);
            let client = client(peer, request.headers(), &self.proxies);
            if let Err(refused) = self.rates.check(client, request.headers()) {
                return Some(refused);
            }
        }
        origin::refusal(request.method(), request.headers(), &self.origins)
    }
}

/// Lets a request through, or not; and not for ever. What is dropped half-way is what a client that hangs up leaves: each handler is
/// written for that.
pub async fn guard(State(door): State<Door>, request: Request, next: Next) -> Response {
    if let Some(refused) = door.refusal(&request) {
        return refused.into_response();
    }
    match tokio::time::timeout(door.patience, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::TimedOut { limit: door.patience }.into_response(),
    }
}
