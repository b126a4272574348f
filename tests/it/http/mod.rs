//! The API over real sockets, on a separate database per test. Path = URL = test.

mod api_docs;
pub mod auth;
mod base_path;
mod caller_shares;
pub mod connect;
mod connections;
mod curl;
mod deploy;
mod errors;
mod events;
pub mod external_services;
pub mod fixture;
pub mod freezes;
pub mod github_apps;
mod healthz;
mod hostile_input;
mod idempotency;
mod language;
mod log;
mod mcp;
mod middleware;
mod oidc;
mod oidc_keys;
mod oidc_sign_in;
mod openapi;
mod pending_migrations;
mod policies;
mod provoker;
mod readyz;
mod real_ip;
mod reports;
mod revocations;
mod schedules;
mod schemathesis;
mod server;
mod slow_readers;
mod tls;
mod tokens;

use std::time::Duration;

use panda::db::Db;

pub use crate::support::api::{Api, ExternalServices, UNREACHABLE, aws};
use crate::support::db::{TestDb, open};
pub use crate::support::sse_reader::Reader;
pub use fixture::Fixture;
pub use panda_testing::answer::Answer;

/// A database without a server.
pub fn unreachable_db() -> Db {
    open(&"postgres://nobody@127.0.0.1:1/nothing".parse().unwrap(), 3, Duration::from_millis(200))
}

/// Number of rows of a table.
pub async fn count(db: &TestDb, table: &'static str) -> i64 {
    db.count(table).await
}
