//! A stream that stays open without events while the database is unavailable and the reader cannot be authenticated. It ends when the database
//! is back: the reader reconnects and is authenticated then. A 503 would make a browser's `EventSource` stop reconnecting.

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::subscriber::{EventSource, Poll, RETRY_AFTER};
use crate::db::Db;

/// Event source without events. It ends when the database answers, or at shutdown.
#[derive(Debug)]
pub struct PendingStream {
    db: Db,
    next_check: Instant,
    shutdown: CancellationToken,
}

impl PendingStream {
    pub fn new(db: Db, shutdown: CancellationToken) -> Self {
        Self { db, next_check: Instant::now() + RETRY_AFTER, shutdown }
    }
}

impl EventSource for PendingStream {
    async fn poll(&mut self, now: Instant) -> Poll {
        if self.shutdown.is_cancelled() {
            return Poll::End;
        }
        if now < self.next_check {
            return Poll::Wait;
        }
        if self.db.check_schema_pending().is_ok() && self.db.ping().await.is_ok() {
            return Poll::End;
        }
        self.next_check = Instant::now() + RETRY_AFTER;
        Poll::Wait
    }

    async fn changed(&mut self) {
        self.shutdown.cancelled().await;
    }

    fn timer(&self) -> Option<Instant> {
        Some(self.next_check)
    }
}
