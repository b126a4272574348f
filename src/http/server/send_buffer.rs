//! Size of the kernel's send buffer of a connection, by what the connection sends.
//!
//! Left to itself, the kernel lets the buffer of a slow reader grow to megabytes, and thousands of event streams may be slow together. A file, on the
//! other hand, comes at one buffer a round trip: over loopback with its segments of 64 KiB, a small buffer holds one of them, which the reader
//! acknowledges after 40 ms.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::TcpStream;

/// Size for event streams, in bytes. The kernel doubles it.
const OF_A_STREAM: usize = 32 * 1024;

/// Size for all other responses, in bytes. The kernel doubles it.
const OF_A_FILE: usize = 128 * 1024;

/// Wanted size of a connection's send buffer. Clones share it: one is held by the socket, the other by the connection's requests.
#[derive(Clone, Debug)]
pub struct SendBuffer(Arc<AtomicUsize>);

impl SendBuffer {
    /// Creates the size for event streams.
    pub fn of_a_stream() -> Self {
        Self(Arc::new(AtomicUsize::new(OF_A_STREAM)))
    }

    /// Chooses the size for the next response.
    pub fn choose(&self, is_event_stream: bool) {
        self.0.store(if is_event_stream { OF_A_STREAM } else { OF_A_FILE }, Ordering::Relaxed);
    }

    /// Sets the socket's option if it is not `applied` yet, and returns the size. A failure is only logged, since the connection works without it.
    pub fn apply(&self, socket: &TcpStream, applied: usize) -> usize {
        let wanted = self.0.load(Ordering::Relaxed);
        if wanted != applied
            && let Err(error) = setsockopt(socket, sockopt::SndBuf, &wanted)
        {
            tracing::debug!(%error, "SO_SNDBUF cannot be set on a connection");
        }
        wanted
    }
}
