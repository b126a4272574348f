//! The HTTP server, built on hyper directly, since `axum::serve` has no time limit for request headers.

mod connection_limit;
mod send_buffer;
mod stall_guard;
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
#[cfg(target_os = "linux")]
use nix::sys::socket::{setsockopt, sockopt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use crate::config::HttpConfig;
use crate::http::middleware::real_ip::Peer;
use crate::http::sse::stream::permits::StreamPermits;
use connection_limit::{ConnectionLimit, ConnectionSlot};
use send_buffer::SendBuffer;
use stall_guard::StallGuard;

/// Time limit for a client to send a request's head, and for the TLS handshake. Also the keep-alive time of an idle connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Time for requests in progress to finish after `shutdown`. Streams end immediately by themselves.
const SHUTDOWN_GRACE: Duration = Duration::from_millis(1_500);

/// Time that a keep-alive connection without a request stays open after `shutdown`, since closing it immediately would lose a request already on its
/// way. The response to such a request closes the connection.
const IDLE_GRACE: Duration = Duration::from_millis(500);

/// Most bytes of a request's head, and of responses waiting to be written, per connection.
const MAX_BUFFER: usize = 32 * 1024;

/// Delay after a failed accept, most often for lack of file descriptors: an immediate retry would spin.
const ACCEPT_RETRY_AFTER: Duration = Duration::from_millis(100);

/// Connections that may wait to be accepted. The system applies its limit too (`net.core.somaxconn`, 4,096 on most systems).
const BACKLOG: u32 = 16_384;

/// File descriptors reserved for other purposes than API connections; at most half of all descriptors.
const RESERVED_FILES: usize = 512;

/// Limits on API connections.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most connections open concurrently, including those of streams.
    pub connections: usize,
    /// Time without progress in writing to a client after which its connection is closed.
    pub stall: Duration,
}

/// Derives the limits on connections and streams for a process that may open `files` descriptors. Some descriptors remain for the
/// database, builds and AWS, and a tenth of the connections for probes and the rest of the API.
pub fn limits(config: &HttpConfig, files: u64) -> (Limits, StreamPermits) {
    let number = |most: u32| usize::try_from(most).unwrap_or(usize::MAX);
    let files = usize::try_from(files).unwrap_or(usize::MAX);
    let connections = config.max_connections.map_or(usize::MAX, number).min(files - RESERVED_FILES.min(files / 2));
    let streams = number(config.max_streams).min(connections - connections / 10);
    let permits = StreamPermits::new(streams, number(config.max_streams_per_client));
    (Limits { connections, stall: config.reader_stall }, permits)
}

/// Listens at `address` with a long accept queue. When a replica ends, all its readers reconnect to the others concurrently: a connection that does
/// not fit into the queue is retried by the client's kernel after 1, 3, 7, 15 and 31 seconds, and tokio's default queue holds 1,024.
///
/// # Errors
/// The address cannot be bound, for example because it is in use.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Otherwise a restarted server could not bind until the previous one's connections have left TIME_WAIT.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves, with TLS if configured, until `shutdown`; then accepts no more connections and lets requests in progress finish for a short time. Event
/// streams end by closing: their readers then reconnect to another replica, while a status such as 503 would stop them for good.
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
        slots: ConnectionLimit::new(limits.connections),
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
                let slot = shutdown.run_until_cancelled(server.slots.acquire()).await.flatten();
                if let Some(slot) = slot {
                    server.spawn(stream, Peer(peer.ip()), slot);
                } else {
                    tracing::debug!("connection closed immediately: all connection slots are serving requests");
                }
            }
            Err(error) => {
                tracing::warn!(%error, "connection cannot be accepted");
                tokio::time::sleep(ACCEPT_RETRY_AFTER).await;
            }
        }
    }
    drop(listener);
    server.connections.close();
    if tokio::time::timeout(SHUTDOWN_GRACE, server.connections.wait()).await.is_err() {
        tracing::warn!(open = server.connections.len(), "connections did not finish in time, closing them");
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
    slots: ConnectionLimit,
    shutdown: CancellationToken,
    cut: CancellationToken,
}

impl Server {
    fn spawn(&self, stream: TcpStream, peer: Peer, slot: ConnectionSlot) {
        set_options(&stream, self.limits.stall);
        let buffer = SendBuffer::of_a_stream();
        let socket = StallGuard::new(stream, self.limits.stall, buffer.clone());
        let connection = Connection {
            http: self.http.clone(),
            router: self.router.clone(),
            slot: Arc::new(slot),
            buffer,
            peer,
            shutdown: self.shutdown.clone(),
            cut: self.cut.clone(),
        };
        match self.tls.clone() {
            None => drop(self.connections.spawn(connection.serve(socket))),
            Some(tls) => drop(self.connections.spawn(connection.serve_tls(tls, socket))),
        }
    }
}

/// State of one connection, apart from its socket.
struct Connection {
    http: http1::Builder,
    router: Router,
    slot: Arc<ConnectionSlot>,
    buffer: SendBuffer,
    peer: Peer,
    shutdown: CancellationToken,
    cut: CancellationToken,
}

impl Connection {
    /// Serves requests until the connection ends or is closed.
    fn serve(self, socket: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> impl Future<Output = ()> + Send {
        let Self { http, router, slot, buffer, peer, shutdown, cut } = self;
        let (of_request, ending) = (Arc::clone(&slot), shutdown.clone());
        // Boxed: hyper keeps the memory of this future as long as the connection lives, and a stream has its response after milliseconds.
        let service = service_fn(move |request| {
            Box::pin(answer(router.clone(), request, peer, Arc::clone(&of_request), buffer.clone(), ending.clone()))
        });
        // Boxed too: moved into the task unboxed, it would take its size there twice.
        let mut connection = Box::pin(http.serve_connection(TokioIo::new(socket), service));
        async move {
            tokio::select! {
                ended = &mut connection => return log_error(ended),
                () = slot.evicted() => return tracing::debug!("idle connection closed for a new one"),
                () = shutdown.cancelled() => {}
            }
            // A busy connection finishes its request and closes. For an idle one a request may be on its way, which cannot be known here.
            let grace = if slot.is_busy() { Duration::ZERO } else { IDLE_GRACE };
            tokio::select! {
                ended = &mut connection => return log_error(ended),
                () = tokio::time::sleep(grace) => connection.as_mut().graceful_shutdown(),
                () = cut.cancelled() => return,
            }
            tokio::select! {
                ended = connection => log_error(ended),
                () = cut.cancelled() => {}
            }
        }
    }

    /// Performs the TLS handshake, then serves requests.
    async fn serve_tls(self, tls: TlsAcceptor, socket: StallGuard) {
        let handshake = tokio::select! {
            // Boxed, so that its memory is released after the handshake.
            handshake = tokio::time::timeout(HEAD_TIMEOUT, Box::pin(tls.accept(socket))) => handshake,
            () = self.slot.evicted() => return tracing::debug!("connection in its TLS handshake closed for a new one"),
            () = self.cut.cancelled() => return,
        };
        match handshake {
            Ok(Ok(socket)) => self.serve(socket).await,
            Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
            Err(_) => tracing::debug!("TLS handshake timed out"),
        }
    }
}

fn log_error(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "connection failed");
    }
}

/// Answers a request. The connection cannot be evicted until the response is made, nor while it is an event stream. After `shutdown` the
/// response closes the connection.
async fn answer(
    router: Router,
    mut request: hyper::Request<Incoming>,
    peer: Peer,
    slot: Arc<ConnectionSlot>,
    buffer: SendBuffer,
    shutdown: CancellationToken,
) -> Result<Response, Infallible> {
    slot.set_busy();
    request.extensions_mut().insert(peer);
    let mut response = router.oneshot(request).await?;
    if shutdown.is_cancelled() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    let kind = response.headers().get(header::CONTENT_TYPE).map_or(&b""[..], |kind| kind.as_bytes());
    let is_event_stream = kind.starts_with(b"text/event-stream");
    buffer.choose(is_event_stream);
    if !is_event_stream {
        slot.set_idle();
    }
    Ok(response)
}

/// Sets socket options. A failure is only logged, since the connection works without them.
fn set_options(stream: &TcpStream, stall: Duration) {
    // An event is one small write: Nagle's algorithm would delay it until the reader's delayed acknowledgement.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY cannot be set on a connection");
    }
    // Detects a vanished client whose window is still open: it acknowledges nothing, but writes to it do not wait, so StallGuard does not notice.
    #[cfg(target_os = "linux")]
    if let Err(error) = setsockopt(stream, sockopt::TcpUserTimeout, &u32::try_from(stall.as_millis()).unwrap_or(0)) {
        tracing::debug!(%error, "TCP_USER_TIMEOUT cannot be set on a connection");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = stall;
}
