//! SSRF guard: requests to addresses from untrusted sources, such as a service URL from a pipeline's output.
//!
//! Each connection resolves the host name, and exactly the resolved addresses are checked and connected to. So a name that resolves differently the
//! second time (DNS rebinding) gains nothing. No proxy is used, because a proxy would resolve the name itself.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::HeaderMap;
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, Response};
use url::{Host, Url};

use super::{ClientError, ErrorKind};
use crate::domain::destination::Destinations;
use crate::domain::text::chain;

/// Time after which an unused connection is closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// HTTP client that connects only to allowed [`Destinations`] and follows no redirect.
#[derive(Clone, Debug)]
pub struct GuardedClient {
    http: Client,
    call: &'static str,
    destinations: Arc<Destinations>,
}

impl GuardedClient {
    /// Creates a client whose requests end within `timeout`, the body included; `call` names it in errors. Fails only if TLS cannot be set up.
    pub fn new(call: &'static str, timeout: Duration, destinations: Destinations) -> Result<Self, ClientError> {
        let destinations = Arc::new(destinations);
        let resolver = GuardedResolver { destinations: Arc::clone(&destinations), lookup };
        // A kept connection could still lead to the previous version of the service.
        Self::with_resolver(call, timeout, destinations, resolver, 0)
    }

    /// Creates a client that keeps up to `idle` connections to each address for further requests. A kept connection leads to an address that was
    /// checked when it was opened.
    pub fn keeping_connections(
        call: &'static str,
        timeout: Duration,
        destinations: Destinations,
        idle: usize,
    ) -> Result<Self, ClientError> {
        let destinations = Arc::new(destinations);
        let resolver = GuardedResolver { destinations: Arc::clone(&destinations), lookup };
        Self::with_resolver(call, timeout, destinations, resolver, idle)
    }

    fn with_resolver(
        call: &'static str,
        timeout: Duration,
        destinations: Arc<Destinations>,
        resolver: impl Resolve + 'static,
        idle: usize,
    ) -> Result<Self, ClientError> {
        let http = Client::builder()
            .timeout(timeout)
            .user_agent(concat!("panda/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            .no_proxy()
            .dns_resolver(Arc::new(resolver))
            .pool_max_idle_per_host(idle)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build()
            .map_err(|error| ClientError::new(ErrorKind::Invalid, call, chain(&error)))?;
        Ok(Self { http, call, destinations })
    }

    /// Sends GET `url` without the user and password in it, with these headers. A destination that is not allowed is an `Invalid` error.
    pub async fn get(&self, url: Url, headers: HeaderMap) -> Result<Response, ClientError> {
        self.send(self.http.get(self.checked(url)?).headers(headers)).await
    }

    /// Sends POST `url` as [`Self::get`] does, with this body.
    pub async fn post(&self, url: Url, headers: HeaderMap, body: Bytes) -> Result<Response, ClientError> {
        self.send(self.http.post(self.checked(url)?).headers(headers).body(body)).await
    }

    /// Sends PATCH `url` as [`Self::get`] does, with this body.
    pub async fn patch(&self, url: Url, headers: HeaderMap, body: Bytes) -> Result<Response, ClientError> {
        self.send(self.http.patch(self.checked(url)?).headers(headers).body(body)).await
    }

    /// Refuses a literal address that is not allowed; a name is checked when it is resolved.
    fn checked(&self, mut url: Url) -> Result<Url, ClientError> {
        // An IP address in place of a name is never resolved. The URL parser has already normalised its other notations: 0x7f.1, 2130706433.
        let literal = match url.host() {
            Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
            Some(Host::Domain(_)) | None => None,
        };
        if let Some(address) = literal.filter(|address| !self.destinations.allow(*address)) {
            return Err(ClientError::new(ErrorKind::Invalid, self.call, refusal_message(address)));
        }
        // Both calls fail only for URLs without a host, which are not sent anyway.
        let _ = url.set_username("").and_then(|()| url.set_password(None));
        Ok(url)
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        // The error text would include the URL, which the caller knows and which hides the cause.
        request
            .send()
            .await
            .map_err(|error| ClientError::new(ErrorKind::Unavailable, self.call, chain(&error.without_url())))
    }
}

pub(super) fn refusal_message(address: IpAddr) -> String {
    format!("{address} may not be reached from here (an operator can allow it with PANDA_HEALTH_ALLOW)")
}

/// Resolver that returns only addresses that may be reached.
struct GuardedResolver<L> {
    destinations: Arc<Destinations>,
    lookup: L,
}

impl<L, F> Resolve for GuardedResolver<L>
where
    L: Fn(String) -> F + Send + Sync,
    F: Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'static,
{
    fn resolve(&self, name: Name) -> Resolving {
        let destinations = Arc::clone(&self.destinations);
        let found = (self.lookup)(name.as_str().to_owned());
        Box::pin(async move {
            let (allowed, others): (Vec<_>, Vec<_>) =
                found.await?.into_iter().partition(|found| destinations.allow(found.ip()));
            match others.first() {
                Some(other) if allowed.is_empty() => Err(refusal_message(other.ip()).into()),
                _ => Ok(Box::new(allowed.into_iter()) as Addrs),
            }
        })
    }
}

async fn lookup(name: String) -> io::Result<Vec<SocketAddr>> {
    // The HTTP client fills in the port.
    Ok(tokio::net::lookup_host((name, 0)).await?.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::net::TcpListener;

    /// Simulates a name whose first lookup resolves to a service, and every later one to this machine.
    #[tokio::test]
    async fn dns_rebinding_is_refused() {
        let listener = TcpListener::bind("127.0.0.2:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let app = axum::Router::new().fallback(|| async { "ok" });
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        // 127.0.0.2 stands for the service, the rest of loopback for forbidden addresses.
        let service = "127.0.0.2/32".parse().unwrap();
        let destinations = Arc::new(Destinations::new(vec![service], vec![]));
        let looks = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&looks);
        let lookup = move |_| {
            let address = if counted.fetch_add(1, Ordering::Relaxed) == 0 { [127, 0, 0, 2] } else { [127, 0, 0, 1] };
            std::future::ready(Ok(vec![SocketAddr::from((address, 0))]))
        };
        let guard = GuardedResolver { destinations: Arc::clone(&destinations), lookup };
        let timeout = Duration::from_secs(10);
        let client = GuardedClient::with_resolver("test", timeout, destinations, guard, 0).unwrap();
        let url: Url = format!("http://rebinding.example:{port}/").parse().unwrap();
        assert_eq!(client.get(url.clone(), HeaderMap::new()).await.unwrap().text().await.unwrap(), "ok");
        let error = client.get(url, HeaderMap::new()).await.unwrap_err();
        assert!(error.message.contains("127.0.0.1 may not be reached"), "{error}");
        assert_eq!(looks.load(Ordering::Relaxed), 2, "each connection resolves the name again");
    }
}
