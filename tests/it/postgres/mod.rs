//! Every common set-up of Postgres: versions, addresses, poolers, TLS, passwords and servers that change.

mod addresses;
mod causes;
mod failover;
mod iam;
mod locks;
mod pooler;
mod rotation;
mod settings;
mod table;
mod tls;
mod versions;

use std::time::Duration;

use panda::db::connect::Access;
use panda::db::{Db, DbError, DbOptions};
use panda::domain::database::Source;
use secrecy::SecretString;
use uuid::Uuid;

use crate::support::db::keyring;

/// The database at `url`, tested as a server does.
pub fn db(url: &str) -> Db {
    opened(SecretString::from(url).into(), Access { tested: true, ..Access::default() }).unwrap()
}

/// The same beside a direct address.
pub fn db_beside(url: &str, direct: &str) -> Db {
    let direct = Some(SecretString::from(direct).into());
    opened(SecretString::from(url).into(), Access { direct, tested: true, ..Access::default() }).unwrap()
}

pub fn opened(url: Source, access: Access) -> Result<Db, DbError> {
    let acquire_timeout = Duration::from_secs(3);
    Db::new(&DbOptions { url, access, max_connections: 6, acquire_timeout, keyring: keyring() })
}

/// Writes something, as a heartbeat does.
pub async fn write(db: &Db) -> Result<(), DbError> {
    db.register_replica(Uuid::now_v7(), Uuid::now_v7(), "test", Duration::from_mins(1)).await
}

/// What readiness says of a database that cannot be reached.
pub async fn trouble(db: &Db) -> String {
    let error = db.schema().await.unwrap_err();
    assert!(error.is_unavailable(), "{error:?}");
    db.in_words(&error)
}
