//! Shared helpers: a database per test, and the environment of a running Panda.

pub mod api_client;
pub mod authority;
pub mod commands;
pub mod container;
pub mod dashboard;
pub mod db;
pub mod endless_server;
pub mod environment;
pub mod git_server;
pub mod postgres_proxy;
pub mod postgres_servers;
pub mod process;
pub mod registry_proxy;
pub mod sse_reader;
pub mod standby;

use std::time::Duration;

/// Time limit for anything that must happen, generous enough for a slow machine.
pub const WAIT_LIMIT: Duration = Duration::from_mins(1);

/// The answer of a polled condition: not yet, or a value.
pub trait Polled {
    type Value;

    /// The value, once the condition holds.
    fn value(self) -> Option<Self::Value>;
}

impl Polled for bool {
    type Value = ();

    fn value(self) -> Option<()> {
        self.then_some(())
    }
}

impl<T> Polled for Option<T> {
    type Value = T;

    fn value(self) -> Self {
        self
    }
}

/// Polls `poll` until its condition holds; panics with `what` after [`WAIT_LIMIT`].
pub async fn wait_for<S: Polled>(what: &str, mut poll: impl AsyncFnMut() -> S) -> S::Value {
    let deadline = tokio::time::Instant::now() + WAIT_LIMIT;
    loop {
        if let Some(value) = poll().await.value() {
            return value;
        }
        assert!(tokio::time::Instant::now() < deadline, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
