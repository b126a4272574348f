//! Every common configuration of Postgres: versions, addresses, poolers, TLS, passwords and failovers.

mod addresses;
mod connections;
mod failover;
mod iam;
mod locks;
mod pooler;
mod readiness_causes;
mod roles;
mod rotation;
mod settings;
mod table;
mod tls;
mod versions;

use std::time::Duration;

use panda::db::connect::Access;
use panda::db::{Db, DbError, DbOptions};
use panda::domain::database::AddressSource;
use secrecy::SecretString;
use uuid::Uuid;

use crate::support::db::keyring;

/// The database at `url`, tested as a server does.
pub fn db(url: &str) -> Db {
    opened(SecretString::from(url).into(), Access { tested: true, ..Access::default() }).unwrap()
}

/// The same with a direct address beside it.
pub fn db_beside(url: &str, direct: &str) -> Db {
    let direct = Some(SecretString::from(direct).into());
    opened(SecretString::from(url).into(), Access { direct, tested: true, ..Access::default() }).unwrap()
}

pub fn opened(url: AddressSource, access: Access) -> Result<Db, DbError> {
    let acquire_timeout = Duration::from_secs(3);
    Db::new(&DbOptions { url, access, max_connections: 6, acquire_timeout, keyring: keyring() })
}

/// Writes a row, as a heartbeat does.
pub async fn write(db: &Db) -> Result<(), DbError> {
    db.register_replica(Uuid::now_v7(), Uuid::now_v7(), "test", Duration::from_mins(1)).await
}

/// The readiness message about an unreachable database.
pub async fn trouble(db: &Db) -> String {
    let error = db.schema().await.unwrap_err();
    assert!(error.is_unavailable(), "{error:?}");
    error.message().to_string()
}
