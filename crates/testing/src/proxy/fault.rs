//! A TCP proxy whose connections can be refused, cut, silenced, and led to other servers.
//!
//! Connections are numbered in order of arrival. A protocol marks some of them, such as Postgres's listening ones, so that a test can silence those alone.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// Faults of connections.
#[derive(Clone, Copy, Default)]
struct Faults {
    closed: bool,
    /// Connections with a lower number are cut.
    cut: usize,
    /// Connections with a lower number receive no more answers.
    mute: usize,
    /// The first so many marked connections receive no more answers.
    mute_marked: usize,
}

/// A connection to be carried.
pub struct Connection {
    number: usize,
    pub near: TcpStream,
    /// `host:port` of the server that it leads to; none while there is no server.
    pub server: Option<String>,
    faults: watch::Receiver<Faults>,
    marked: Arc<AtomicUsize>,
}

/// Carries one connection to its end.
type Carry = Arc<dyn Fn(Connection) -> BoxFuture<'static, ()> + Send + Sync>;

/// The proxy; dropping it cuts its connections.
pub struct FaultProxy {
    address: SocketAddr,
    servers: Arc<Mutex<Vec<String>>>,
    faults: watch::Sender<Faults>,
    connections: Arc<AtomicUsize>,
    /// Number of connections that were marked.
    marked: Arc<AtomicUsize>,
    _accepting: AbortOnDropHandle<()>,
}

impl FaultProxy {
    /// A proxy of bytes before `servers`, which take turns. `marks` selects a connection by bytes that its client sends.
    pub async fn tcp(servers: &[String], marks: fn(&[u8]) -> bool) -> Self {
        Self::start(servers, Arc::new(move |connection| Box::pin(copy(connection, marks)))).await
    }

    /// A load balancer that behaves like a cluster's Service: a new connection goes to the next server, and an open one stays where it is.
    pub async fn balancer() -> Self {
        Self::tcp(&[], |_| false).await
    }

    /// A proxy whose connections `carry` carries.
    pub async fn start(servers: &[String], carry: Carry) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let servers = Arc::new(Mutex::new(servers.to_vec()));
        let faults = watch::Sender::new(Faults::default());
        let (connections, marked) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let (turns, watched) = (Arc::clone(&servers), faults.subscribe());
        let (count, mark) = (Arc::clone(&connections), Arc::clone(&marked));
        let accepting = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let _ = near.set_nodelay(true);
                let (faults, number) = (watched.clone(), count.fetch_add(1, Ordering::SeqCst));
                let connection = Connection { number, near, server: next(&turns), faults, marked: Arc::clone(&mark) };
                let (carried, mut cut) = (carry(connection), watched.clone());
                tokio::spawn(async move {
                    tokio::select! {
                        () = carried => {}
                        _ = cut.wait_for(|faults| faults.closed || number < faults.cut) => {}
                    }
                });
            }
        });
        Self { address, servers, faults, connections, marked, _accepting: AbortOnDropHandle::new(accepting) }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Opens the proxy, or closes it and cuts all connections.
    pub fn set(&self, open: bool) {
        self.faults.send_modify(|faults| {
            faults.closed = !open;
            if !open {
                faults.cut = self.connections();
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
        self.faults.send_modify(|faults| faults.mute = self.connections());
    }

    /// Keeps the connections that are marked now open but stops answering them; all others are answered.
    pub fn mute_marked(&self) {
        self.faults.send_modify(|faults| faults.mute_marked = self.marked());
    }

    /// Number of connections so far, including those that were refused.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Number of connections that were marked so far.
    pub fn marked(&self) -> usize {
        self.marked.load(Ordering::SeqCst)
    }

    /// Leads new connections to another server.
    pub fn lead_to(&self, server: String) {
        *self.servers.lock().unwrap() = vec![server];
    }

    /// Adds a server, which takes turns with the others.
    pub fn add(&self, server: SocketAddr) {
        self.servers.lock().unwrap().push(server.to_string());
    }

    /// Leads no new connections to a server.
    pub fn remove(&self, server: SocketAddr) {
        self.servers.lock().unwrap().retain(|other| *other != server.to_string());
    }
}

/// The server whose turn it is.
fn next(servers: &Mutex<Vec<String>>) -> Option<String> {
    let mut servers = servers.lock().unwrap();
    if !servers.is_empty() {
        servers.rotate_left(1);
    }
    servers.last().cloned()
}

/// Carries bytes until one end is closed.
async fn copy(connection: Connection, marks: fn(&[u8]) -> bool) {
    let Connection { number, mut near, server, faults, marked } = connection;
    let Some(server) = server else { return };
    let Ok(mut far) = TcpStream::connect(server).await else { return };
    let _ = far.set_nodelay(true);
    // Ordinal among the marked connections, from 1; 0 while it is not marked.
    let ordinal = AtomicUsize::new(0);
    let ((mut asked, mut near_write), (mut answered, mut ask)) = (near.split(), far.split());
    let questions = async {
        let mut bytes = vec![0; 16 * 1024];
        loop {
            let length = asked.read(&mut bytes).await?;
            if length == 0 {
                return std::io::Result::Ok(());
            }
            if ordinal.load(Ordering::SeqCst) == 0 && marks(&bytes[..length]) {
                ordinal.store(marked.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
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
            let faults = *faults.borrow();
            let is_mute = (1..=faults.mute_marked).contains(&ordinal.load(Ordering::SeqCst));
            if number >= faults.mute && !is_mute {
                near_write.write_all(&bytes[..length]).await?;
            }
        }
    };
    tokio::select! {
        _ = questions => {}
        _ = answers => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that sends back what it receives, preceded by its name.
    async fn echo(name: &'static [u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut bytes = [0; 64];
                    while let Ok(n @ 1..) = socket.read(&mut bytes).await {
                        socket.write_all(&[name, &bytes[..n]].concat()).await.unwrap();
                    }
                });
            }
        });
        address
    }

    async fn ask(socket: &mut TcpStream, text: &[u8]) -> Vec<u8> {
        socket.write_all(text).await.unwrap();
        let mut bytes = vec![0; 64];
        let n = socket.read(&mut bytes).await.unwrap_or(0);
        bytes[..n].to_vec()
    }

    #[tokio::test]
    async fn cuts_and_redirects_connections() {
        let proxy = FaultProxy::tcp(&[echo(b"a").await], |_| false).await;
        let mut first = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(ask(&mut first, b"x").await, b"ax");
        proxy.lead_to(echo(b"b").await);
        assert_eq!(ask(&mut first, b"x").await, b"ax", "an open connection stays where it is");
        proxy.cut();
        assert_eq!(ask(&mut first, b"x").await, b"");
        let mut second = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(ask(&mut second, b"x").await, b"bx");
        proxy.set(false);
        let mut refused = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(ask(&mut refused, b"x").await, b"");
        assert_eq!(proxy.connections(), 3);
    }

    #[tokio::test]
    async fn silences_marked_connections_alone() {
        let proxy = FaultProxy::tcp(&[echo(b"").await], |bytes| bytes == b"listen").await;
        let mut marked = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(ask(&mut marked, b"listen").await, b"listen");
        let mut other = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(ask(&mut other, b"x").await, b"x");
        proxy.mute_marked();
        marked.write_all(b"y").await.unwrap();
        assert_eq!(ask(&mut other, b"x").await, b"x");
        assert_eq!(marked.try_read(&mut [0; 8]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
        assert_eq!(proxy.marked(), 1);
    }

    #[tokio::test]
    async fn servers_take_turns() {
        let proxy = FaultProxy::balancer().await;
        let (a, b) = (echo(b"a").await.parse().unwrap(), echo(b"b").await.parse().unwrap());
        proxy.add(a);
        proxy.add(b);
        let mut seen = Vec::new();
        for _ in 0..4 {
            seen.extend(ask(&mut TcpStream::connect(proxy.address()).await.unwrap(), b"x").await);
        }
        assert_eq!(seen, b"axbxaxbx");
        proxy.remove(a);
        assert_eq!(ask(&mut TcpStream::connect(proxy.address()).await.unwrap(), b"x").await, b"bx");
    }
}
