//! The HTTP server: hyper's own, since axum's has no time limit for headers.

use std::io;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// How long a client may take to send a request's head. Also how long an unused connection is kept.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// How long requests under way may take to end, once the process is told to. Streams end at once by themselves.
const GRACE: Duration = Duration::from_millis(1_500);

/// Most bytes of a request's head, and of answers waiting to be written, per connection.
const MAX_BUFFER: usize = 32 * 1024;

/// Wait after a failed accept: mostly there are no file descriptors left, and the next try would spin.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Serves until `shutdown`; then takes no connection any more and gives requests under way a short time. Event streams end by
/// closing: their readers come back to another process, which a status such as 503 would keep them from for good.
pub async fn serve(listener: TcpListener, router: Router, shutdown: CancellationToken) -> io::Result<()> {
    let address = listener.local_addr()?;
    tracing::info!(%address, "serving");
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(MAX_BUFFER);
    let graceful = GracefulShutdown::new();
    let cut = CancellationToken::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => spawn(&http, &graceful, stream, router.clone(), cut.clone()),
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be accepted");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
    drop(listener);
    let open = graceful.count();
    if tokio::time::timeout(GRACE, graceful.shutdown()).await.is_err() {
        tracing::warn!(open, "connections did not end in time and are cut");
        cut.cancel();
    }
    Ok(())
}

fn spawn(
    http: &http1::Builder,
    graceful: &GracefulShutdown,
    stream: TcpStream,
    router: Router,
    cut: CancellationToken,
) {
    // An event is one small write: waiting to fill a packet would delay it by the reader's delayed acknowledgement.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection keeps Nagle's algorithm");
    }
    let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let connection = graceful.watch(connection);
    tokio::spawn(async move {
        tokio::select! {
            ended = connection => if let Err(error) = ended { tracing::debug!(%error, "a connection broke") },
            () = cut.cancelled() => {}
        }
    });
}
