//! A door in front of Postgres: shut, the server is as good as away; connections that were open are cut. Connections that listen can be
//! swallowed alone: they stay open, and nothing comes through any more, in either direction.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use panda::db::{Db, DbOptions};
use secrecy::SecretString;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use url::Url;

use super::db::TestDb;

pub struct Gate {
    address: SocketAddr,
    open: watch::Sender<bool>,
    listeners: Arc<Listeners>,
}

/// Connections that have begun to listen, in their order.
#[derive(Default)]
struct Listeners {
    seen: AtomicUsize,
    /// So many of them, from the first one, are swallowed.
    swallowed: AtomicUsize,
}

impl Gate {
    /// A door before the server of `db`.
    pub async fn before(db: &TestDb, open: bool) -> Self {
        let url: Url = db.url().parse().unwrap();
        let server = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap_or(5432));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let open = watch::Sender::new(open);
        let listeners = Arc::<Listeners>::default();
        let (watched, counted) = (open.subscribe(), Arc::clone(&listeners));
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let (server, mut open, listeners) = (server.clone(), watched.clone(), Arc::clone(&counted));
                tokio::spawn(async move {
                    if !*open.borrow() {
                        return;
                    }
                    let far = TcpStream::connect(server).await.unwrap();
                    tokio::select! {
                        () = carry(near, far, &listeners) => {}
                        _ = open.wait_for(|open| !open) => {}
                    }
                });
            }
        });
        Self { address, open, listeners }
    }

    pub fn set(&self, open: bool) {
        self.open.send_replace(open);
    }

    /// Swallows the connections that listen now; new ones get through.
    pub fn swallow_listeners(&self) {
        self.listeners.swallowed.store(self.listeners(), Ordering::SeqCst);
    }

    /// How many connections have begun to listen so far.
    pub fn listeners(&self) -> usize {
        self.listeners.seen.load(Ordering::SeqCst)
    }

    /// The address of `db` through the door.
    pub fn url(&self, db: &TestDb) -> Url {
        let mut url: Url = db.url().parse().unwrap();
        url.set_host(Some("127.0.0.1")).unwrap();
        url.set_port(Some(self.address.port())).unwrap();
        url
    }

    /// The database `db`, through the door.
    pub fn db(&self, db: &TestDb) -> Db {
        Db::new(&DbOptions {
            url: SecretString::from(self.url(db).to_string()),
            max_connections: 5,
            acquire_timeout: Duration::from_millis(500),
        })
        .unwrap()
    }
}

/// Carries bytes both ways until one side ends.
async fn carry(mut near: TcpStream, mut far: TcpStream, listeners: &Listeners) {
    let (mut up, mut down) = (vec![0; 16 * 1024], vec![0; 16 * 1024]);
    let mut number = None;
    loop {
        let sent = tokio::select! {
            n = near.read(&mut up) => {
                let Ok(n @ 1..) = n else { return };
                if number.is_none() && up[..n].windows(7).any(|part| part == b"LISTEN ") {
                    number = Some(listeners.seen.fetch_add(1, Ordering::SeqCst) + 1);
                }
                if is_swallowed(listeners, number) { continue }
                far.write_all(&up[..n]).await
            }
            n = far.read(&mut down) => {
                let Ok(n @ 1..) = n else { return };
                if is_swallowed(listeners, number) { continue }
                near.write_all(&down[..n]).await
            }
        };
        if sent.is_err() {
            return;
        }
    }
}

fn is_swallowed(listeners: &Listeners, number: Option<usize>) -> bool {
    number.is_some_and(|number| number <= listeners.swallowed.load(Ordering::SeqCst))
}
