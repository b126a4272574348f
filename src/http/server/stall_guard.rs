//! Closes connections whose reader has stopped reading: writes then wait for space in the kernel's buffer, and must not wait forever.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use super::send_buffer::SendBuffer;

/// A socket that fails with `TimedOut` when a write makes no progress for `limit`.
#[derive(Debug)]
pub struct StallGuard {
    socket: TcpStream,
    limit: Duration,
    buffer: SendBuffer,
    /// Size of the send buffer that the socket has, in bytes; 0 before the first write.
    buffer_size: usize,
    /// Created when a write has to wait, which on most connections never happens.
    timeout: Option<Pin<Box<Sleep>>>,
}

impl StallGuard {
    pub fn new(socket: TcpStream, limit: Duration, buffer: SendBuffer) -> Self {
        Self { socket, limit, buffer, buffer_size: 0, timeout: None }
    }

    /// Returns the result of a write, or an error when writes have been pending for `limit`.
    fn guard<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.timeout = None;
            return written;
        }
        let timeout = self.timeout.get_or_insert_with(|| Box::pin(sleep(self.limit)));
        match timeout.as_mut().poll(context) {
            Poll::Ready(()) => {
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the reader has stopped reading")))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for StallGuard {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_read(cx, buf)
    }
}

impl AsyncWrite for StallGuard {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.buffer_size = this.buffer.apply(&this.socket, this.buffer_size);
        let written = Pin::new(&mut this.socket).poll_write(cx, buf);
        this.guard(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.buffer_size = this.buffer.apply(&this.socket, this.buffer_size);
        let written = Pin::new(&mut this.socket).poll_write_vectored(cx, bufs);
        this.guard(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}
