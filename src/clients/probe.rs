//! HTTP health check of a service, like the one of a load balancer.

use std::time::{Duration, Instant};

use url::Url;

use super::{ClientError, ErrorKind, ssrf_guard::GuardedClient};
use crate::bounded;
use crate::domain::destination::Destinations;
use crate::domain::text;
use crate::failpoints::around;

const CALL: &str = "health check";

/// Paths to try, in this order.
const PATHS: [&str; 2] = ["/health", "/"];

/// Maximum number of bytes to read of a response body: its content does not matter.
const MAX_BODY_BYTES: usize = 2 * 1024;

/// Maximum length of a stored error, in characters.
const MAX_ERROR_CHARS: usize = 500;

/// Result of one health check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeResult {
    /// Set when one of the paths answered with status 2xx.
    pub healthy: bool,
    /// Status of the last response; `None` without a response.
    pub status: Option<u16>,
    /// Path of the request that decided the result.
    pub path: &'static str,
    /// Duration of the deciding request, its (short) body included.
    pub latency: Duration,
    /// Reason why the service is unhealthy; `None` if it is healthy.
    pub error: Option<String>,
}

/// Client for HTTP health checks.
#[derive(Clone, Debug)]
pub struct Probe {
    http: GuardedClient,
}

impl Probe {
    /// Creates a probe whose requests end within `timeout` and go only to allowed `destinations`. Fails only if TLS cannot be set up.
    pub fn new(timeout: Duration, destinations: Destinations) -> Result<Self, ClientError> {
        Ok(Self { http: GuardedClient::new(CALL, timeout, destinations)? })
    }

    /// Sends GET `/health` below `base`, then GET `/` if the first request fails or its status is not 2xx.
    pub async fn check(&self, base: &Url) -> ProbeResult {
        let first = self.get(base, PATHS[0]).await;
        if first.healthy { first } else { self.get(base, PATHS[1]).await }
    }

    async fn get(&self, base: &Url, path: &'static str) -> ProbeResult {
        let mut url = base.clone();
        url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
        url.set_query(None);
        let started = Instant::now();
        let answer = self.read(url).await;
        let latency = started.elapsed();
        let (status, error) = match answer {
            Ok(status) if (200..300).contains(&status) => (Some(status), None),
            Ok(status) => (Some(status), Some(format!("{path} answered with status {status}"))),
            Err(error) => (None, Some(text::cut(&format!("{path}: {}", error.message), MAX_ERROR_CHARS))),
        };
        ProbeResult { healthy: error.is_none(), status, path, latency, error }
    }

    #[tracing::instrument(name = "call", skip_all, fields(otel.name = CALL, otel.kind = "client"))]
    async fn read(&self, url: Url) -> Result<u16, ClientError> {
        let answer = around(CALL, self.http.get(url)).await?;
        let status = answer.status().as_u16();
        // A response that breaks off within its first bytes does not count.
        let read = bounded::skim(answer, MAX_BODY_BYTES).await;
        read.map(|()| status).map_err(|error| ClientError::new(ErrorKind::Unavailable, CALL, error))
    }
}
