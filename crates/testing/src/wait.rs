//! Waiting for a condition instead of sleeping.

use std::time::Duration;

use crate::WAIT_LIMIT;

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
