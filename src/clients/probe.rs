//! A look at a service's health, as a load balancer takes it.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use reqwest::{Client, redirect::Policy};
use url::Url;

use super::{
    ClientError, ErrorKind,
    error::{chain, cut},
};
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
    http: Client,
}

impl Probe {
    /// A probe whose every request ends within `timeout`. Fails only where no TLS can be set up.
    pub fn new(timeout: Duration) -> Result<Self, ClientError> {
        let http = Client::builder()
            .timeout(timeout)
            .user_agent(concat!("panda/", env!("CARGO_PKG_VERSION")))
            // The service itself is asked, not where it points to.
            .redirect(Policy::none())
            // A kept connection could lead to the version that was there before.
            .pool_max_idle_per_host(0)
            .build()
            .map_err(|error| ClientError::new(ErrorKind::Invalid, CALL, chain(&error)))?;
        Ok(Self { http })
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
            Err(error) => (None, Some(cut(&format!("{path}: {}", chain(&error.without_url())), LONGEST_ERROR))),
        };
        ProbeResult { healthy: error.is_none(), status, path, latency, error }
    }

    async fn read(&self, url: Url) -> Result<u16, reqwest::Error> {
        let answer = around(CALL, self.http.get(url).send()).await?;
        let status = answer.status().as_u16();
        let mut body = answer.bytes_stream();
        let mut read = 0;
        // An answer that breaks off in its first bytes is no answer.
        while read < MOST_BODY {
            match body.next().await {
                Some(piece) => read += piece?.len(),
                None => break,
            }
        }
        Ok(status)
    }
}
