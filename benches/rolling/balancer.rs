//! A load balancer that behaves like a cluster's Service: a new connection goes to the next ready replica, and an open one stays where it is.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// The ready replicas; the first one gets the next connection.
type Ready = Arc<Mutex<Vec<SocketAddr>>>;

/// Listens until it is dropped.
pub struct Balancer {
    pub address: SocketAddr,
    ready: Ready,
    accepting: JoinHandle<()>,
}

impl Balancer {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let ready = Ready::default();
        let shared = Arc::clone(&ready);
        let accepting = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                tokio::spawn(carry(client, Arc::clone(&shared)));
            }
        });
        Self { address, ready, accepting }
    }

    /// Adds a replica that has become ready.
    pub fn add(&self, replica: SocketAddr) {
        self.ready.lock().unwrap().push(replica);
    }

    /// Removes a replica that is about to end.
    pub fn remove(&self, replica: SocketAddr) {
        self.ready.lock().unwrap().retain(|other| *other != replica);
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Carries bytes both ways until both sides have ended. Closes the client's connection when no replica listens.
async fn carry(mut client: TcpStream, ready: Ready) {
    let next = {
        let mut ready = ready.lock().unwrap();
        if !ready.is_empty() {
            ready.rotate_left(1);
        }
        ready.last().copied()
    };
    let Some(next) = next else { return };
    let Ok(mut replica) = TcpStream::connect(next).await else { return };
    let _ = (client.set_nodelay(true), replica.set_nodelay(true));
    let _ = copy_bidirectional(&mut client, &mut replica).await;
}
