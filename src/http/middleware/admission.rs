//! Checks that every request must pass before a handler runs: rate limits, host, CSRF, and a time limit. Authentication follows later, in `auth`.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::csrf::PageOrigin;
use super::rate_limit::RateLimits;
use super::real_ip::{Peer, Proxies};
use super::{csrf, host};
use crate::config::HttpConfig;
use crate::http::error::ApiError;
use crate::http::middleware::error::AdmissionError;

/// Exempt from rate limits: an orchestrator kills the process when a probe is refused, and its requests may share the address of all clients.
pub const PROBES: [&str; 2] = ["/healthz", "/readyz"];

/// State of the admission checks. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Admission {
    rates: Arc<RateLimits>,
    config: Arc<HttpConfig>,
}

impl Admission {
    /// Takes rates, trusted proxies, origins and time limits from `config`.
    pub fn new(config: &HttpConfig) -> Self {
        Self {
            rates: Arc::new(RateLimits::new(config.rate_per_client, config.rate_per_token)),
            config: Arc::new(config.clone()),
        }
    }

    fn page_origin(&self, request: &Request) -> PageOrigin {
        let (proxies, headers) = (Proxies::from(&*self.config), request.headers());
        PageOrigin::of(headers, &proxies.hosts(peer_of(request), headers))
    }

    fn refusal(&self, request: &Request) -> Option<AdmissionError> {
        let peer = peer_of(request);
        let (proxies, headers) = (Proxies::from(&*self.config), request.headers());
        if !PROBES.contains(&request.uri().path())
            && let Err(refused) = self.rates.check(proxies.client(peer, headers), headers)
        {
            return Some(refused);
        }
        // The rate is checked first, so that requests refused here count towards it.
        host::refusal(request).or_else(|| {
            csrf::refusal(request.method(), headers, &self.config.cors_origins, &proxies.hosts(peer, headers))
        })
    }
}

/// A request has a peer unless the router is called without a connection, as in tests.
fn peer_of(request: &Request) -> IpAddr {
    request.extensions().get().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |Peer(peer)| *peer)
}

/// Refuses a request, or runs it within the time limit. A timeout drops the handler half-way, as a client that disconnects does; each handler
/// tolerates that.
pub async fn admit(State(admission): State<Admission>, mut request: Request, next: Next) -> Response {
    if let Some(refused) = admission.refusal(&request) {
        return ApiError::from(refused).into_response();
    }
    let origin = admission.page_origin(&request);
    request.extensions_mut().insert(origin);
    let limit = admission.config.request_timeout;
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::from(AdmissionError::TimedOut { limit }).into_response(),
    }
}
