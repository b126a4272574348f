//! Blue before the first image: a server that answers with a fixed text.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::body::Body;
use axum::http::Response;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::super::tasks::Tasks;

/// Answers 200 to every request until `end`.
pub async fn start(tasks: &Tasks, repository: &str, end: CancellationToken) -> std::io::Result<SocketAddr> {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = socket.local_addr()?;
    let text: Arc<str> = format!("placeholder: no version of {repository} is deployed yet\n").into();
    let shared = tasks.clone();
    tasks.spawn(async move {
        while let Some(accepted) = end.run_until_cancelled(socket.accept()).await {
            let Ok((stream, _)) = accepted else { continue };
            let text = Arc::clone(&text);
            shared.spawn(async move {
                let answer = service_fn(|_| {
                    let body = Body::from(text.to_string());
                    async move { Ok::<_, Infallible>(Response::new(body)) }
                });
                // Ignored: the client may disconnect at any time.
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
            });
        }
    });
    Ok(address)
}
