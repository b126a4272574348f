//! A server whose answers begin normally and then repeat one piece for as long as the client reads.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;
use url::Url;

/// The server; dropping it ends it.
pub struct EndlessServer {
    pub url: Url,
    sent: Arc<AtomicUsize>,
    _serving: AbortOnDropHandle<()>,
}

impl EndlessServer {
    /// Starts a server that answers with `status` and a body of this media type that begins with `begin` and repeats `piece`.
    pub async fn start(status: &str, media_type: &str, begin: &[u8], piece: &[u8]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
        let head = format!("HTTP/1.1 {status}\r\ncontent-type: {media_type}\r\nconnection: close\r\n\r\n");
        let begin = [head.as_bytes(), begin].concat();
        let piece = piece.repeat((64 << 10) / piece.len() + 1);
        let sent = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&sent);
        let serving = tokio::spawn(async move {
            loop {
                let (mut connection, _) = listener.accept().await.unwrap();
                let (begin, piece, counter) = (begin.clone(), piece.clone(), Arc::clone(&counter));
                tokio::spawn(async move {
                    let mut request = vec![0; 64 << 10];
                    let _ = connection.read(&mut request).await;
                    let mut next = begin.as_slice();
                    while connection.write_all(next).await.is_ok() {
                        counter.fetch_add(next.len(), Ordering::Relaxed);
                        next = &piece;
                    }
                });
            }
        });
        Self { url, sent, _serving: AbortOnDropHandle::new(serving) }
    }

    /// Bytes sent so far.
    pub fn sent(&self) -> usize {
        self.sent.load(Ordering::Relaxed)
    }
}
