//! The program's own access to the databases of tests.

use std::sync::Arc;
use std::time::Duration;

use panda::db::{Db, DbOptions};
use panda::domain::keyring::Keyring;
use secrecy::SecretString;
use url::Url;

use super::panda::Panda;
use super::postgres_proxy::PostgresProxy;
pub use panda_testing::KEY_FILE;

/// A migrated database, dropped together with this value.
pub type TestDb = panda_testing::postgres::TestDb<Panda>;

/// Encrypts the secrets of tests.
#[expect(clippy::unnecessary_wraps, reason = "as the options take it")]
pub fn keyring() -> Option<Arc<Keyring>> {
    let text = SecretString::from(std::fs::read_to_string(KEY_FILE).unwrap());
    Some(Arc::new(Keyring::parse(&text, &|arn| panic!("{arn} is not asked for")).unwrap()))
}

/// Opens the database at `url` with this many connections, each of which is awaited for at most `patience`.
pub fn open(url: &Url, max_connections: u32, patience: Duration) -> Db {
    open_with(url.as_str(), max_connections, patience, keyring())
}

/// The same with other keys.
pub fn open_with(url: &str, max_connections: u32, patience: Duration, keyring: Option<Arc<Keyring>>) -> Db {
    Db::new(&DbOptions {
        url: SecretString::from(url).into(),
        access: panda::db::connect::Access::default(),
        max_connections,
        acquire_timeout: patience,
        keyring,
    })
    .unwrap()
}

/// The database `db` through the proxy.
pub fn through(proxy: &PostgresProxy, db: &TestDb) -> Db {
    open(&proxy.url(db), 5, Duration::from_millis(500))
}
