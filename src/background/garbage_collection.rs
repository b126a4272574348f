//! Removes rows that have no use any more: dead replicas, expired idempotency keys, sessions and tickets, unused budgets of calls, old
//! deliveries of receivers and push hooks. Data with a configurable retention is
//! removed by `retention`.

use super::every::{Next, Periodic, Trigger};
use crate::db::{Db, DbError};

/// Most deliveries of receivers, and of push hooks, that one run removes: the statement must end within its time limit.
const OLD_DELIVERIES: i64 = 20_000;

/// The rows of all replicas; each of them removes what it finds.
pub(super) struct GarbageCollection {
    pub(super) db: Db,
}

impl Periodic for GarbageCollection {
    const NAME: &'static str = "garbage collection";
    const ON_ERROR: &'static str = "garbage not collected";

    /// An error of one kind does not prevent the removal of the others, so each is logged here.
    async fn run(&mut self, _trigger: Trigger) -> Result<Next, DbError> {
        match self.db.delete_dead_replicas().await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "removed replicas without a heartbeat for an hour"),
            Err(error) => tracing::warn!(%error, "dead replicas not removed"),
        }
        match self.db.delete_expired_keys().await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "removed idempotency keys older than a day"),
            Err(error) => tracing::warn!(%error, "old idempotency keys not removed"),
        }
        match self.db.delete_expired_sessions().await {
            Ok(0) => {}
            Ok(count) => tracing::debug!(count, "removed expired sessions and tickets"),
            Err(error) => tracing::warn!(%error, "expired sessions not removed"),
        }
        match self.db.delete_unused_api_budgets().await {
            Ok(0) => {}
            Ok(count) => tracing::debug!(count, "removed budgets of calls that were not used for a day"),
            Err(error) => tracing::warn!(%error, "unused budgets of calls not removed"),
        }
        match self.db.delete_dead_senders().await {
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "ended senders of the outbox not removed"),
        }
        match self.db.delete_old_deliveries(OLD_DELIVERIES).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "removed deliveries that ended 30 days ago"),
            Err(error) => tracing::warn!(%error, "old deliveries of receivers not removed"),
        }
        match self.db.delete_old_push_deliveries(OLD_DELIVERIES).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "removed deliveries of push hooks that were received 30 days ago"),
            Err(error) => tracing::warn!(%error, "old deliveries of push hooks not removed"),
        }
        Ok(Next::Period)
    }
}
