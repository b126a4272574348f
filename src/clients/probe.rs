//! HTTP health check of a service, like the one of a load balancer.

use std::time::{Duration, Instant};

use reqwest::header::{HOST, HeaderMap, HeaderValue};
use url::Url;

use super::{ClientError, ErrorKind, ssrf_guard::GuardedClient};
use crate::bounded;
use crate::domain::destination::Destinations;
use crate::domain::health_check::HealthCheck;
use crate::domain::text;
use crate::failpoints::around;

const CALL: &str = "health check";

/// Maximum number of bytes to read of a response body: its content does not matter.
const MAX_BODY_BYTES: usize = 2 * 1024;

/// Maximum length of a stored error, in characters.
const MAX_ERROR_CHARS: usize = 500;

/// Result of one health check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeResult {
    /// Set when one of the paths answered with an accepted status.
    pub healthy: bool,
    /// Status of the last response; `None` without a response.
    pub status: Option<u16>,
    /// Path of the request that decided the result.
    pub path: String,
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

    /// Sends GET to each of the check's paths below `base` until one answers with an accepted status; the last result if none does. A redirect is an
    /// answer, and is not followed.
    pub async fn check(&self, base: &Url, check: &HealthCheck) -> ProbeResult {
        let (last, others) =
            check.paths.split_last().map_or(("/", [].as_slice()), |(last, others)| (last.as_str(), others));
        for path in others {
            let result = self.get(base, path, check).await;
            if result.healthy {
                return result;
            }
        }
        self.get(base, last, check).await
    }

    async fn get(&self, base: &Url, path: &str, check: &HealthCheck) -> ProbeResult {
        let mut url = base.clone();
        let (below, query) = path.split_once('?').map_or((path, None), |(below, query)| (below, Some(query)));
        url.set_path(&format!("{}{below}", base.path().trim_end_matches('/')));
        url.set_query(query);
        let started = Instant::now();
        let answer = self.read(url, check.host.as_deref()).await;
        let latency = started.elapsed();
        let (status, error) = match answer {
            Ok(status) if check.codes.contain(status) => (Some(status), None),
            Ok(status) => (Some(status), Some(format!("{path} answered with status {status}"))),
            Err(error) => (None, Some(text::cut(&format!("{path}: {}", error.message), MAX_ERROR_CHARS))),
        };
        ProbeResult { healthy: error.is_none(), status, path: path.to_owned(), latency, error }
    }

    #[tracing::instrument(name = "call", skip_all, fields(otel.name = CALL, otel.kind = "client"))]
    async fn read(&self, url: Url, host: Option<&str>) -> Result<u16, ClientError> {
        let mut headers = HeaderMap::new();
        if let Some(host) = host.and_then(|host| HeaderValue::from_str(host).ok()) {
            headers.insert(HOST, host);
        }
        let answer = around(CALL, self.http.get(url, headers)).await?;
        let status = answer.status().as_u16();
        // A response that breaks off within its first bytes does not count.
        let read = bounded::skim(answer, MAX_BODY_BYTES).await;
        read.map(|()| status).map_err(|error| ClientError::new(ErrorKind::Unavailable, CALL, error))
    }
}
