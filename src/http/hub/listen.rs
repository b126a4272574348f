//! The process's one LISTEN connection. A notification is a hint to look at once; losing them costs a second.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgListener;
use tokio::time::timeout;

use super::Inner;
use crate::db::notify::EVENTS_CHANNEL;
use crate::db::{Db, DbError};
use crate::domain::backoff;
use crate::domain::news::News;
use crate::metrics::Listener;

/// Silence after which the connection is asked whether it is still there.
const SILENCE: Duration = Duration::from_secs(4);

/// How long its answer may take. Both together bound how long a swallowed connection goes unnoticed.
const ANSWER: Duration = Duration::from_secs(2);

const RETRY_BASE: Duration = Duration::from_millis(100);
const RETRY_CAP: Duration = Duration::from_secs(2);

/// What keeps it from listening.
static LISTENING: News = News::new();

/// Listens for ever, on one connection after the other.
pub(super) async fn run(inner: Arc<Inner>) {
    let mut failures = 0;
    loop {
        match inner.db.listen(EVENTS_CHANNEL).await {
            Ok(listener) => {
                failures = 0;
                // What was committed before we listened was told to nobody.
                inner.look_at_all();
                let error = follow(&inner, listener).await;
                inner.metrics.streams.reconnects(Listener::Events);
                tracing::warn!(%error, "listening for events broke off; connecting again");
            }
            Err(error) => {
                failures += 1;
                if LISTENING.are(&error) {
                    tracing::warn!(%error, failures, "cannot listen for events; streams look once a second meanwhile");
                }
            }
        }
        tokio::time::sleep(backoff::delay(failures.max(1), RETRY_BASE, RETRY_CAP, rand::random())).await;
    }
}

/// Passes notifications on, until the connection has to be rebuilt.
async fn follow(inner: &Arc<Inner>, mut listener: PgListener) -> DbError {
    loop {
        match timeout(SILENCE, listener.try_recv()).await {
            Ok(Ok(Some(notification))) => notification.payload().split(' ').for_each(|id| inner.look_at(id)),
            // The connection was lost and it listens again: what was told between is gone.
            Ok(Ok(None)) => {
                inner.metrics.streams.reconnects(Listener::Events);
                inner.look_at_all();
            }
            Ok(Err(error)) => return error.into(),
            Err(_silence) => match timeout(ANSWER, Db::ping_listener(&mut listener)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return error,
                Err(_silence) => return DbError::from(sqlx::Error::PoolTimedOut),
            },
        }
    }
}
