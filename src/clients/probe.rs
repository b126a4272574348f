//! A look at a service's health, as a load balancer takes it.

use std::time::{Duration, Instant};

use url::Url;

use super::{ClientError, ErrorKind, error::cut, guarded::GuardedClient};
use crate::bounded;
use crate::domain::destination::Destinations;
use crate::failpoints::around;

const CALL: &str = "health check";

/// The paths that are tried, in this order.
const PATHS: [&str; 2] = ["/health", "/"];

/// The most of an answer's body that is read, in bytes: only that an answer comes matters.
const MOST_BODY: usize = 2 * 1024;

/// The longest error that is kept, in characters.
const LONGEST_ERROR: usize = 500;

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeResult {
    /// Whether some path answered with 2xx.
    pub healthy: bool,
    /// The last answer's status, if there was an answer.
    pub status: Option<u16>,
    /// The path that decided.
    pub path: &'static str,
    /// How long the deciding request took, its (short) body included.
    pub latency: Duration,
    /// Why it is not healthy.
    pub error: Option<String>,
}

/// Checks services by HTTP.
#[derive(Clone, Debug)]
pub struct Probe {
    http: GuardedClient,
}

impl Probe {
    /// A probe whose every request ends within `timeout` and goes only where `destinations` allow. Fails only where no TLS can be set up.
    pub fn new(timeout: Duration, destinations: Destinations) -> Result<Self, ClientError> {
        Ok(Self { http: GuardedClient::new(CALL, timeout, destinations)? })
    }

    /// GET `/health` below `base`, then `/` when that is not there or fails.
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
            Err(error) => (None, Some(cut(&format!("{path}: {}", error.message), LONGEST_ERROR))),
        };
        ProbeResult { healthy: error.is_none(), status, path, latency, error }
    }

    #[tracing::instrument(name = "call", skip_all, fields(otel.name = CALL, otel.kind = "client"))]
    async fn read(&self, url: Url) -> Result<u16, ClientError> {
        let answer = around(CALL, self.http.get(url)).await?;
        let status = answer.status().as_u16();
        // An answer that breaks off in its first bytes is no answer.
        let read = bounded::skim(answer, MOST_BODY).await;
        read.map(|()| status).map_err(|error| ClientError::new(ErrorKind::Unavailable, CALL, error))
    }
}
