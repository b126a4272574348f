//! A fault proxy before Postgres. Closed, it makes the server unreachable and cuts open connections.

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

/// Faults of connections, which are numbered in order of arrival.
#[derive(Clone, Copy, Default)]
struct ProxyState {
    closed: bool,
    /// Connections with a lower number are cut.
    cut: usize,
    /// Connections with a lower number receive no more answers.
    mute: usize,
    /// The first so many listening connections receive no more answers.
    mute_listeners: usize,
}

pub struct PostgresProxy {
    address: SocketAddr,
    server: watch::Sender<String>,
    state: watch::Sender<ProxyState>,
    connections: Arc<AtomicUsize>,
    /// Number of connections that have begun to listen.
    listeners: Arc<AtomicUsize>,
}

impl PostgresProxy {
    /// A proxy before the server of `db`.
    pub async fn before(db: &TestDb, open: bool) -> Self {
        let url: Url = db.url().parse().unwrap();
        let proxy = Self::to(&format!("{}:{}", url.host_str().unwrap(), url.port().unwrap_or(5432))).await;
        proxy.set(open);
        proxy
    }

    /// An open proxy to `server`.
    pub async fn to(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (server, state) = (watch::Sender::new(server.to_owned()), watch::Sender::new(ProxyState::default()));
        let (servers, states) = (server.subscribe(), state.subscribe());
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        let listeners = Arc::<AtomicUsize>::default();
        let listening = Arc::clone(&listeners);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let (server, states) = (servers.borrow().clone(), states.clone());
                let n = count.fetch_add(1, Ordering::SeqCst);
                let listening = Arc::clone(&listening);
                tokio::spawn(async move {
                    if let Ok(far) = TcpStream::connect(server).await {
                        pass(n, near, far, states, &listening).await;
                    }
                });
            }
        });
        Self { address, server, state, connections, listeners }
    }

    /// Opens the proxy, or closes it and cuts all connections.
    pub fn set(&self, open: bool) {
        self.state.send_modify(|state| {
            state.closed = !open;
            if !open {
                state.cut = self.connections.load(Ordering::SeqCst);
            }
        });
    }

    /// Cuts all connections and lets new ones through.
    pub fn cut(&self) {
        self.set(false);
        self.set(true);
    }

    /// Keeps the present connections open but stops answering them.
    pub fn mute(&self) {
        self.state.send_modify(|state| state.mute = self.connections.load(Ordering::SeqCst));
    }

    /// Keeps the connections that listen now open but stops answering them; all others are answered.
    pub fn silence_listeners(&self) {
        self.state.send_modify(|state| state.mute_listeners = self.listeners());
    }

    /// Number of connections so far, including those that were refused.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Number of connections that have begun to listen so far.
    pub fn listeners(&self) -> usize {
        self.listeners.load(Ordering::SeqCst)
    }

    /// Leads new connections to another server.
    pub fn lead_to(&self, server: String) {
        self.server.send_replace(server);
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address of `db` through the proxy.
    pub fn url(&self, db: &TestDb) -> Url {
        let mut url: Url = db.url().parse().unwrap();
        url.set_host(Some("127.0.0.1")).unwrap();
        url.set_port(Some(self.address.port())).unwrap();
        url
    }

    /// The database `db` through the proxy.
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

/// True if these bytes begin to listen for events or work. The self-test of a new server listens briefly as well and does not count.
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
    mut states: watch::Receiver<ProxyState>,
    listeners: &AtomicUsize,
) {
    let current = states.clone();
    // Ordinal among the connections that listen, from 1; 0 when it does not listen.
    let listener = AtomicUsize::new(0);
    let ((mut asked, mut near_write), (mut answered, mut ask)) = (near.split(), far.split());
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
            let state = *current.borrow();
            let mute_listeners = 1..=state.mute_listeners;
            if n >= state.mute && !mute_listeners.contains(&listener.load(Ordering::SeqCst)) {
                near_write.write_all(&bytes[..length]).await?;
            }
        }
    };
    tokio::select! {
        _ = questions => {}
        _ = answers => {}
        _ = states.wait_for(|state| state.closed || n < state.cut) => {}
    }
}
