//! A door in front of Postgres: shut, the server is as good as away; connections that were open are cut.

use std::net::SocketAddr;
use std::time::Duration;

use panda::db::{Db, DbOptions};
use secrecy::SecretString;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use url::Url;

use super::db::TestDb;

pub struct Gate {
    address: SocketAddr,
    open: watch::Sender<bool>,
}

impl Gate {
    /// A door before the server of `db`.
    pub async fn before(db: &TestDb, open: bool) -> Self {
        let url: Url = db.url().parse().unwrap();
        let server = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap_or(5432));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let open = watch::Sender::new(open);
        let watched = open.subscribe();
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let (server, mut open) = (server.clone(), watched.clone());
                tokio::spawn(async move {
                    if !*open.borrow() {
                        return;
                    }
                    let mut far = TcpStream::connect(server).await.unwrap();
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                        _ = open.wait_for(|open| !open) => {}
                    }
                });
            }
        });
        Self { address, open }
    }

    pub fn set(&self, open: bool) {
        self.open.send_replace(open);
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
