//! A door in front of Postgres: shut, the server is as good as away; connections that were open are cut.

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

/// Connections are numbered as they come.
#[derive(Clone, Copy, Default)]
struct Door {
    shut: bool,
    /// Those before this one are cut.
    cut: usize,
    /// Those before this one are not answered any more.
    mute: usize,
    /// Of those that listen, so many, from the first one, are not answered any more.
    mute_listeners: usize,
}

pub struct Gate {
    address: SocketAddr,
    server: watch::Sender<String>,
    door: watch::Sender<Door>,
    came: Arc<AtomicUsize>,
    /// How many of them have begun to listen.
    listeners: Arc<AtomicUsize>,
}

impl Gate {
    /// A door before the server of `db`.
    pub async fn before(db: &TestDb, open: bool) -> Self {
        let url: Url = db.url().parse().unwrap();
        let gate = Self::to(&format!("{}:{}", url.host_str().unwrap(), url.port().unwrap_or(5432))).await;
        gate.set(open);
        gate
    }

    /// An open door to `server`.
    pub async fn to(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (server, door) = (watch::Sender::new(server.to_owned()), watch::Sender::new(Door::default()));
        let (servers, doors) = (server.subscribe(), door.subscribe());
        let came = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&came);
        let listeners = Arc::<AtomicUsize>::default();
        let listening = Arc::clone(&listeners);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let (server, doors) = (servers.borrow().clone(), doors.clone());
                let n = count.fetch_add(1, Ordering::SeqCst);
                let listening = Arc::clone(&listening);
                tokio::spawn(async move {
                    if let Ok(far) = TcpStream::connect(server).await {
                        pass(n, near, far, doors, &listening).await;
                    }
                });
            }
        });
        Self { address, server, door, came, listeners }
    }

    /// Shut, all connections are cut.
    pub fn set(&self, open: bool) {
        self.door.send_modify(|door| {
            door.shut = !open;
            if !open {
                door.cut = self.came.load(Ordering::SeqCst);
            }
        });
    }

    /// Cuts all connections; new ones are let through.
    pub fn cut(&self) {
        self.set(false);
        self.set(true);
    }

    /// The connections that there are stay, and are not answered any more.
    pub fn mute(&self) {
        self.door.send_modify(|door| door.mute = self.came.load(Ordering::SeqCst));
    }

    /// The connections that listen now stay, and are not answered any more; all others are.
    pub fn swallow_listeners(&self) {
        self.door.send_modify(|door| door.mute_listeners = self.listeners());
    }

    /// How many connections have come so far, those that were shut out included.
    pub fn came(&self) -> usize {
        self.came.load(Ordering::SeqCst)
    }

    /// How many connections have begun to listen so far.
    pub fn listeners(&self) -> usize {
        self.listeners.load(Ordering::SeqCst)
    }

    /// New connections lead to another server.
    pub fn lead_to(&self, server: String) {
        self.server.send_replace(server);
    }

    pub fn address(&self) -> SocketAddr {
        self.address
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
            url: SecretString::from(self.url(db).to_string()).into(),
            access: panda::db::connect::Access::default(),
            max_connections: 5,
            acquire_timeout: Duration::from_millis(500),
            keyring: crate::support::db::keyring(),
        })
        .unwrap()
    }
}

/// Whether this begins to listen for events or work; the self-test of a new server listens as well, for a moment.
fn listens(bytes: &[u8]) -> bool {
    [&b"LISTEN \"panda_events\""[..], &b"LISTEN \"panda_work\""[..]]
        .iter()
        .any(|wanted| bytes.windows(wanted.len()).any(|part| part == *wanted))
}

/// Carries bytes until an end is closed or the connection is cut.
async fn pass(
    n: usize,
    mut near: TcpStream,
    mut far: TcpStream,
    mut doors: watch::Receiver<Door>,
    listeners: &AtomicUsize,
) {
    let seen = doors.clone();
    // Its number among those that listen, from 1; 0 when it does not.
    let listener = AtomicUsize::new(0);
    let ((mut asked, mut told), (mut answered, mut ask)) = (near.split(), far.split());
    let questions = async {
        let mut bytes = vec![0; 16 * 1024];
        loop {
            let length = asked.read(&mut bytes).await?;
            if length == 0 {
                return std::io::Result::Ok(());
            }
            if listener.load(Ordering::SeqCst) == 0 && listens(&bytes[..length]) {
                listener.store(listeners.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            }
            ask.write_all(&bytes[..length]).await?;
        }
    };
    let answers = async {
        let mut bytes = vec![0; 16 * 1024];
        loop {
            let length = answered.read(&mut bytes).await?;
            if length == 0 {
                return std::io::Result::Ok(());
            }
            let door = *seen.borrow();
            let mute_listeners = 1..=door.mute_listeners;
            if n >= door.mute && !mute_listeners.contains(&listener.load(Ordering::SeqCst)) {
                told.write_all(&bytes[..length]).await?;
            }
        }
    };
    tokio::select! {
        _ = questions => {}
        _ = answers => {}
        _ = doors.wait_for(|door| door.shut || n < door.cut) => {}
    }
}
