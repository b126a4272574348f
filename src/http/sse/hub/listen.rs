//! The process's single LISTEN connection. A notification is a hint to read the table immediately; a lost one delays the read to the next sweep, by a
//! second.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgListener;
use tokio::time::{Instant, timeout};

use super::Inner;
use crate::db::notify::EVENTS_CHANNEL;
use crate::db::{Db, DbError};
use crate::domain::backoff;
use crate::domain::log_throttle::LogThrottle;
use crate::metrics::ListenPurpose;

/// Time without a notification after which the connection is pinged while a stream is open. Without one, no reader waits for a notification.
const PING_AFTER: Duration = Duration::from_secs(4);

/// Time limit of a ping. Together with [`PING_AFTER`] it bounds the time until a connection that silently drops packets is detected.
const PING_TIMEOUT: Duration = Duration::from_secs(2);

const RETRY_BASE: Duration = Duration::from_millis(100);
const RETRY_CAP: Duration = Duration::from_secs(2);

static LISTEN_ERRORS: LogThrottle = LogThrottle::new();

/// Listens until cancelled, reconnecting with exponential backoff.
pub(super) async fn run(inner: Arc<Inner>) {
    let mut failures = 0;
    loop {
        match inner.db.listen(EVENTS_CHANNEL).await {
            Ok(listener) => {
                failures = 0;
                // Commits before the LISTEN were not notified on this connection.
                inner.refresh_all();
                let error = follow(&inner, listener).await;
                inner.metrics.streams.reconnected(ListenPurpose::Events);
                tracing::warn!(%error, "event listener lost its connection, reconnecting");
            }
            Err(error) => {
                failures += 1;
                if LISTEN_ERRORS.allows(&error) {
                    tracing::warn!(%error, failures, "event listener cannot connect, polling once a second meanwhile");
                }
            }
        }
        tokio::time::sleep(backoff::delay(failures.max(1), RETRY_BASE, RETRY_CAP, rand::random())).await;
    }
}

/// Forwards notifications to the channels. Returns the error that requires a new connection.
async fn follow(inner: &Arc<Inner>, mut listener: PgListener) -> DbError {
    let mut heard = Instant::now();
    loop {
        let quiet = async {
            if !inner.has_subscribers() {
                inner.subscribed.notified().await;
            }
            tokio::time::sleep_until(heard + PING_AFTER).await;
        };
        let received = tokio::select! {
            received = listener.try_recv() => Some(received),
            () = quiet => None,
        };
        match received {
            Some(Ok(Some(notification))) => notification.payload().split(' ').for_each(|id| inner.refresh(id)),
            // sqlx reconnected and repeated the LISTEN: notifications sent in between are lost.
            Some(Ok(None)) => {
                inner.metrics.streams.reconnected(ListenPurpose::Events);
                inner.refresh_all();
            }
            Some(Err(error)) => return error.into(),
            None => match timeout(PING_TIMEOUT, Db::ping_listener(&mut listener)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return error,
                Err(_elapsed) => return DbError::from(sqlx::Error::PoolTimedOut),
            },
        }
        heard = Instant::now();
    }
}
