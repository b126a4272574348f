//! What tests share: a database of their own, and a whole world around a Panda.

pub mod contained;
pub mod dashboard;
pub mod db;
pub mod endless;
pub mod front;
pub mod gate;
pub mod git_server;
pub mod process;
pub mod registry_front;
pub mod servers;
pub mod standby;
pub mod wishes;
pub mod world;

use std::time::Duration;

/// How long a thing that must happen may take on a slow machine.
pub const SOON: Duration = Duration::from_mins(1);

/// What a look at the world can answer: yes, or something to go on with.
pub trait Sight {
    /// What is gone on with.
    type Seen;

    /// It, if it was there.
    fn seen(self) -> Option<Self::Seen>;
}

impl Sight for bool {
    type Seen = ();

    fn seen(self) -> Option<()> {
        self.then_some(())
    }
}

impl<T> Sight for Option<T> {
    type Seen = T;

    fn seen(self) -> Self {
        self
    }
}

/// Waits until `look` sees what it looks for; panics with `what` when it never does.
pub async fn wait_for<S: Sight>(what: &str, mut look: impl AsyncFnMut() -> S) -> S::Seen {
    let deadline = tokio::time::Instant::now() + SOON;
    loop {
        if let Some(seen) = look().await.seen() {
            return seen;
        }
        assert!(tokio::time::Instant::now() < deadline, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
