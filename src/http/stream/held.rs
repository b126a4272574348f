//! A stream that is held open while nobody can say whether its reader may read: the database is away. It ends when that is back, and the
//! reader, who comes back, is asked properly. A 503 would keep an `EventSource` away for good.

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::viewer::{Course, RETRY, Turn};
use crate::db::Db;

/// See the module.
#[derive(Debug)]
pub struct Held {
    db: Db,
    next: Instant,
    shutdown: CancellationToken,
}

impl Held {
    /// Until `db` answers, or `shutdown`.
    pub fn new(db: Db, shutdown: CancellationToken) -> Self {
        Self { db, next: Instant::now() + RETRY, shutdown }
    }
}

impl Course for Held {
    async fn turn(&mut self, now: Instant) -> Turn {
        if self.shutdown.is_cancelled() {
            return Turn::End;
        }
        if now < self.next {
            return Turn::Wait;
        }
        if self.db.check_schema_pending().is_ok() && self.db.ping().await.is_ok() {
            return Turn::End;
        }
        self.next = Instant::now() + RETRY;
        Turn::Wait
    }

    async fn changed(&mut self) {
        self.shutdown.cancelled().await;
    }

    fn timer(&self) -> Option<Instant> {
        Some(self.next)
    }
}
