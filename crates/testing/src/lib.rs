//! The harness that Panda's integration tests, benches and soak share: databases, fault proxies, readers of event streams, processes, a git server, and the
//! services around Panda.
//!
//! This crate does not use the crate `panda`, so that a change of the program compiles neither this crate nor, for unit tests, the program twice. A
//! caller describes its program by [`Program`]: its executable, and its database code. Helpers of one feature stay beside its tests.
//!
//! A failure of the harness is a failure of the test: everything panics with a message.

#![allow(
    missing_docs,
    clippy::missing_panics_doc,
    reason = "names and signatures say it; every helper panics when its test fails"
)]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's helpers fail the test as the test itself does")]
#![allow(
    clippy::new_without_default,
    clippy::return_self_not_must_use,
    clippy::should_implement_trait,
    reason = "only tests call it, and they read better with these names"
)]
#![allow(clippy::disallowed_methods, reason = "tests read what they made themselves")]

pub mod answer;
pub mod api_client;
pub mod authority;
pub mod canaries;
pub mod compose;
pub mod container;
pub mod dashboard;
pub mod document_blocks;
pub mod ecs;
pub mod endless_server;
pub mod engines;
pub mod environment;
pub mod failpoint_trace;
pub mod forged_images;
pub mod git_server;
pub mod helm;
pub mod hostile;
pub mod http;
pub mod installed;
pub mod kubelet;
pub mod moto;
pub mod oidc_issuer;
pub mod oidc_sign_in;
pub mod postgres;
pub mod process;
pub mod prometheus;
pub mod proxy;
pub mod readers;
pub mod release_registry;
pub mod rust_functions;
pub mod rust_imports;
pub mod sandbox;
pub mod schemathesis;
pub mod serve;
pub mod sse;
pub mod trace_collector;
mod wait;
pub mod web_page;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use url::Url;
pub use wait::{Polled, wait_for};

/// Time limit for anything that must happen, generous enough for a slow machine.
pub const WAIT_LIMIT: Duration = Duration::from_mins(1);

/// The encryption keys of all tests.
pub const KEY_FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/test.keys");

/// The program under test: its executable, and its database code as it runs in this process.
pub trait Program: Send + Sync + 'static {
    /// Access to a database, as the program's own code uses it.
    type Db: Send + Sync;

    /// Path of the program that tests start.
    fn path() -> PathBuf;

    /// Opens the database at `url`.
    fn open(url: &Url) -> Self::Db;

    /// Makes the schema, as the owner.
    fn migrate(db: &Self::Db) -> impl Future<Output = ()> + Send;

    /// The statement that replaces what each installation draws at random, for copies of a migrated database.
    const RENEWAL: &'static str;

    /// The statements that make the role of servers.
    fn app_role_script(db: &Self::Db, role: &str) -> impl Future<Output = String> + Send;
}

/// A database that a proxy or a server in a separate process is started for.
pub trait HasUrl {
    /// Database URL for servers.
    fn url(&self) -> &str;
}

impl<D: HasUrl> HasUrl for Arc<D> {
    fn url(&self) -> &str {
        D::url(self)
    }
}

/// Root folder of the checkout.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap()
}

/// The text of a file of the checkout.
pub fn text(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}
