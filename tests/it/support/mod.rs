//! What tests share: a database of their own, and a whole world around a Panda.

pub mod db;
pub mod gate;
pub mod world;

use std::time::Duration;

/// How long a thing that must happen may take on a slow machine.
pub const SOON: Duration = Duration::from_mins(1);

/// Waits until `look` answers; panics with `what` when it never does.
pub async fn wait_for<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + SOON;
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(tokio::time::Instant::now() < deadline, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}
