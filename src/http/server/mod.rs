//! The HTTP server: hyper's own, since axum's has no time limit for headers.

mod places;
mod stalled;
pub mod tls;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use nix::sys::socket::{setsockopt, sockopt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use super::client::Peer;
use super::stream::seats::Seats;
use crate::config::HttpConfig;
use places::{Places, Taken};
use stalled::Stalled;

/// How long a client may take to send a request's head, and for TLS's handshake. Also how long an unused connection is kept.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// How long requests under way may take to end, once the process is told to. Streams end at once by themselves.
const GRACE: Duration = Duration::from_millis(1_500);

/// How long a kept connection without a request stays open, once the process is told to end: a request that is on its way to it would be lost. Its
/// answer says that it is the last one.
const FAREWELL: Duration = Duration::from_millis(500);

/// Most bytes of a request's head, and of answers waiting to be written, per connection.
const MAX_BUFFER: usize = 32 * 1024;

/// What the kernel may keep of what a client has not taken; it makes twice as much of it. Without it that grows to megabytes.
const SEND_BUFFER: usize = 32 * 1024;

/// Wait after a failed accept: mostly there are no file descriptors left, and the next try would spin.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Connections that may wait to be accepted; the system has a limit of its own (net.core.somaxconn, mostly 4,096).
const BACKLOG: u32 = 16_384;

/// Descriptors that are kept for what is not a connection of the API, or half of all when there are few.
const RESERVED_FILES: usize = 512;

/// What connections may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most open connections.
    pub connections: usize,
    /// How long a client may take nothing of what is written to it.
    pub stall: Duration,
}

/// What connections and streams may take, where a process may have `files` descriptors. Those that connections leave are for the
/// database, builds and AWS; those that streams leave are for probes and the rest of the API.
pub fn limits(config: &HttpConfig, files: u64) -> (Limits, Seats) {
    let number = |most: u32| usize::try_from(most).unwrap_or(usize::MAX);
    let files = usize::try_from(files).unwrap_or(usize::MAX);
    let connections = config.max_connections.map_or(usize::MAX, number).min(files - RESERVED_FILES.min(files / 2));
    let streams = number(config.max_streams).min(connections - connections / 10);
    (Limits { connections, stall: config.reader_stall }, Seats::new(streams, number(config.max_streams_per_client)))
}

/// Listens at `address`. When a replica ends, its readers come here all at once: what the queue has no room for is sent again by their kernels
/// after 1, 3, 7, 15 and 31 seconds, and tokio's own queue has room for 1,024.
///
/// # Errors
/// The address cannot be had.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Or a server that is started again would have to wait for the connections of the one before it.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves, with TLS if there is any, until `shutdown`; then takes no connection any more and gives requests under way a short time. Event streams end by
/// closing: their readers come back to another process, which a status such as 503 would keep them from for good.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    tls: Option<TlsAcceptor>,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    tracing::info!(%address, tls = tls.is_some(), connections = limits.connections, "serving");
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(MAX_BUFFER);
    let server = Server {
        http,
        connections: TaskTracker::new(),
        router,
        limits,
        tls,
        places: Places::new(limits.connections),
        shutdown: shutdown.clone(),
        cut: CancellationToken::new(),
    };
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let place = shutdown.run_until_cancelled(server.places.take()).await.flatten();
                if let Some(place) = place {
                    server.spawn(stream, Peer(peer.ip()), place);
                } else {
                    tracing::debug!("a connection is closed at once: all places are taken by requests");
                }
            }
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be accepted");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
    drop(listener);
    server.connections.close();
    if tokio::time::timeout(GRACE, server.connections.wait()).await.is_err() {
        tracing::warn!(open = server.connections.len(), "connections did not end in time and are cut");
        server.cut.cancel();
    }
    Ok(())
}

struct Server {
    http: http1::Builder,
    connections: TaskTracker,
    router: Router,
    limits: Limits,
    tls: Option<TlsAcceptor>,
    places: Places,
    shutdown: CancellationToken,
    cut: CancellationToken,
}

impl Server {
    fn spawn(&self, stream: TcpStream, peer: Peer, place: Taken) {
        set_options(&stream, self.limits.stall);
        let socket = Stalled::new(stream, self.limits.stall);
        let connection = Connection {
            http: self.http.clone(),
            router: self.router.clone(),
            place: Arc::new(place),
            peer,
            shutdown: self.shutdown.clone(),
            cut: self.cut.clone(),
        };
        match self.tls.clone() {
            None => drop(self.connections.spawn(connection.serve(socket))),
            Some(tls) => drop(self.connections.spawn(connection.shake_hands(tls, socket))),
        }
    }
}

/// What a connection needs, beside its socket.
struct Connection {
    http: http1::Builder,
    router: Router,
    place: Arc<Taken>,
    peer: Peer,
    shutdown: CancellationToken,
    cut: CancellationToken,
}

impl Connection {
    /// Serves requests, until there are no more.
    fn serve(self, socket: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> impl Future<Output = ()> + Send {
        let Self { http, router, place, peer, shutdown, cut } = self;
        let (at, ending) = (Arc::clone(&place), shutdown.clone());
        // Boxed: hyper keeps the room for this future as long as the connection lives, and a stream has its answer after milliseconds.
        let service =
            service_fn(move |request| Box::pin(answer(router.clone(), request, peer, Arc::clone(&at), ending.clone())));
        // Boxed too: moved into the task as it is, it would have room there twice.
        let mut connection = Box::pin(http.serve_connection(TokioIo::new(socket), service));
        async move {
            tokio::select! {
                ended = &mut connection => return said(ended),
                () = place.lost() => return tracing::debug!("a connection without a request makes room"),
                () = shutdown.cancelled() => {}
            }
            // What it has, it may end; of what is not there yet, it cannot tell whether it is on its way.
            let farewell = if place.is_busy() { Duration::ZERO } else { FAREWELL };
            tokio::select! {
                ended = &mut connection => return said(ended),
                () = tokio::time::sleep(farewell) => connection.as_mut().graceful_shutdown(),
                () = cut.cancelled() => return,
            }
            tokio::select! {
                ended = connection => said(ended),
                () = cut.cancelled() => {}
            }
        }
    }

    /// The same, once TLS is agreed upon.
    async fn shake_hands(self, tls: TlsAcceptor, socket: Stalled) {
        let shaken = tokio::select! {
            // Boxed: the room is not needed any more when it is done.
            shaken = tokio::time::timeout(HEAD_TIMEOUT, Box::pin(tls.accept(socket))) => shaken,
            () = self.place.lost() => return tracing::debug!("a connection in its handshake makes room"),
            () = self.cut.cancelled() => return,
        };
        match shaken {
            Ok(Ok(socket)) => self.serve(socket).await,
            Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
            Err(_) => tracing::debug!("a TLS handshake took too long"),
        }
    }
}

fn said(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke");
    }
}

/// One request's answer. While it is made, and while it is an event stream, the connection keeps its place. Once the process is told to end, it
/// is the connection's last one.
async fn answer(
    router: Router,
    mut request: hyper::Request<Incoming>,
    peer: Peer,
    place: Arc<Taken>,
    shutdown: CancellationToken,
) -> Result<Response, Infallible> {
    place.set_busy();
    request.extensions_mut().insert(peer);
    let mut response = router.oneshot(request).await?;
    if shutdown.is_cancelled() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    let kind = response.headers().get(header::CONTENT_TYPE).map_or(&b""[..], |kind| kind.as_bytes());
    if !kind.starts_with(b"text/event-stream") {
        place.set_idle();
    }
    Ok(response)
}

/// What cannot be set is not needed for the connection to work.
fn set_options(stream: &TcpStream, stall: Duration) {
    // An event is one small write: waiting to fill a packet would delay it by the reader's delayed acknowledgement.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection keeps Nagle's algorithm");
    }
    if let Err(error) = setsockopt(stream, sockopt::SndBuf, &SEND_BUFFER) {
        tracing::debug!(%error, "a connection keeps its send buffer");
    }
    // A client that has vanished acknowledges nothing; its window may be open, so that no write ever has to wait.
    #[cfg(target_os = "linux")]
    if let Err(error) = setsockopt(stream, sockopt::TcpUserTimeout, &u32::try_from(stall.as_millis()).unwrap_or(0)) {
        tracing::debug!(%error, "a connection keeps the system's time limit");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = stall;
}
