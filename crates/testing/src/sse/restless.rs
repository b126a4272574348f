//! A client that stores only ids and disconnects at random points.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::{Blocks, field};

/// Present addresses of the replicas.
pub type Addresses = Arc<RwLock<Vec<SocketAddr>>>;

/// The ids that each kind of client must have at the end.
pub type Expected = Arc<HashMap<Followed, Vec<String>>>;

/// The stream that a client follows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Followed {
    /// One deployment, from its beginning.
    One(String),
    /// All deployments, after the first event.
    All,
    /// All deployments of one repository, after the first event.
    Repository(String),
}

pub struct RestlessClient {
    followed: Followed,
    last: String,
    got: Vec<String>,
    random: StdRng,
}

impl RestlessClient {
    pub fn new(followed: Followed, first: &str, seed: u64) -> Self {
        let last = if matches!(followed, Followed::One(_)) { String::new() } else { first.to_owned() };
        Self { followed, last, got: Vec::new(), random: StdRng::seed_from_u64(seed) }
    }

    /// Follows until all expected events have arrived; returns their number.
    pub async fn run(mut self, addresses: Addresses, mut received: watch::Receiver<Option<Expected>>) -> usize {
        while !self.is_done(&received) {
            let address = {
                let addresses = addresses.read().unwrap();
                addresses[self.random.random_range(0..addresses.len())]
            };
            // Half of the time it stays, half of the time it disconnects after a number of bytes, at any point of an event.
            let leaves_after =
                if self.random.random_bool(0.5) { usize::MAX } else { self.random.random_range(0..60_000) };
            let followed = self.connection(address, leaves_after);
            tokio::pin!(followed);
            // A broken connection is treated like one that ended.
            let _: std::io::Result<()> = followed.as_mut().await;
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(20)) => {}
                _ = received.changed() => {}
            }
        }
        let expected = received.borrow().clone().unwrap();
        let expected = &expected[&self.followed];
        if self.got != *expected {
            let at = self.got.iter().zip(expected).take_while(|(got, expected)| got == expected).count();
            panic!("{:?}: event {at} of {} differs, {} came", self.followed, expected.len(), self.got.len());
        }
        self.got.len()
    }

    fn is_done(&self, received: &watch::Receiver<Option<Expected>>) -> bool {
        received.borrow().as_ref().is_some_and(|expected| self.got.len() >= expected[&self.followed].len())
    }

    /// One connection, until it ends, breaks, or the client leaves. Without chunks, as HTTP/1.0 has none.
    async fn connection(&mut self, address: SocketAddr, leaves_after: usize) -> std::io::Result<()> {
        let path = match &self.followed {
            Followed::One(id) => format!("/api/v1/deploy/{id}/events"),
            Followed::All => "/api/v1/events".to_owned(),
            Followed::Repository(repo) => format!("/api/v1/events?owner=acme&repo={repo}"),
        };
        let mut socket = TcpStream::connect(address).await?;
        let head = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\nLast-Event-ID: {}\r\n\r\n", self.last);
        socket.write_all(head.as_bytes()).await?;
        let (mut buffer, mut taken, mut begun) = (Vec::with_capacity(16 * 1024), 0, false);
        let mut blocks = Blocks::default();
        loop {
            // A silence means that all has arrived, or that this connection stalled: it checks either way.
            let read = tokio::time::timeout(Duration::from_millis(1_500), socket.read_buf(&mut buffer)).await;
            let Ok(read) = read else { return Ok(()) };
            let read = read?;
            taken += read;
            if read == 0 || taken > leaves_after {
                return Ok(());
            }
            if !begun {
                let Some(end) = buffer.windows(4).position(|end| end == b"\r\n\r\n") else { continue };
                assert!(buffer.starts_with(b"HTTP/1.0 200"), "{}", String::from_utf8_lossy(&buffer));
                buffer.drain(..end + 4);
                begun = true;
            }
            blocks.push(&buffer);
            buffer.clear();
            self.take(&mut blocks);
        }
    }

    /// Stores the ids of complete events.
    fn take(&mut self, blocks: &mut Blocks) {
        while let Some(event) = blocks.next() {
            if let Some(id) = field(&event, "id") {
                id.clone_into(&mut self.last);
                self.got.push(self.last.clone());
            }
        }
    }
}
