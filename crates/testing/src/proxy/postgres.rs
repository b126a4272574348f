//! A fault proxy before Postgres. Closed, it makes the server unreachable and cuts open connections.

use std::ops::Deref;

use url::Url;

use super::FaultProxy;
use crate::HasUrl;

/// The proxy; its marked connections are those that listen for events or work.
pub struct PostgresProxy(FaultProxy);

impl Deref for PostgresProxy {
    type Target = FaultProxy;

    fn deref(&self) -> &FaultProxy {
        &self.0
    }
}

impl PostgresProxy {
    /// A proxy before the server of `db`.
    pub async fn before(db: &impl HasUrl, open: bool) -> Self {
        let url: Url = db.url().parse().unwrap();
        let proxy = Self::to(&format!("{}:{}", url.host_str().unwrap(), url.port().unwrap_or(5432))).await;
        proxy.set(open);
        proxy
    }

    /// An open proxy to `server`.
    pub async fn to(server: &str) -> Self {
        Self(FaultProxy::tcp(&[server.to_owned()], listens).await)
    }

    /// Keeps the connections that listen now open but stops answering them; all others are answered.
    pub fn silence_listeners(&self) {
        self.mute_marked();
    }

    /// Number of connections that have begun to listen so far.
    pub fn listeners(&self) -> usize {
        self.marked()
    }

    /// The address of `db` through the proxy.
    pub fn url(&self, db: &impl HasUrl) -> Url {
        let mut url: Url = db.url().parse().unwrap();
        url.set_host(Some("127.0.0.1")).unwrap();
        url.set_port(Some(self.address().port())).unwrap();
        url
    }
}

/// True if these bytes begin to listen for events or work. The self-test of a new server listens briefly as well and does not count.
fn listens(bytes: &[u8]) -> bool {
    [&b"LISTEN \"panda_events\""[..], &b"LISTEN \"panda_work\""[..]]
        .iter()
        .any(|wanted| bytes.windows(wanted.len()).any(|part| part == *wanted))
}
