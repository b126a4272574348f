//! Processes that send, the receivers that each holds, and their leases.

use std::time::Duration;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::db::feed::FeedKey;
use crate::db::{Db, DbError};

/// The installation's receivers, as one sender sees them.
#[derive(Clone, Debug, Default)]
pub struct OutboxView {
    /// Webhooks that are enabled, by id.
    pub receivers: Vec<OutboxReceiver>,
    /// Senders that are alive, this one included.
    pub senders: Vec<Uuid>,
    /// Present time, by the database's clock; none without receivers.
    pub now: Option<DateTime<Utc>>,
}

/// An enabled receiver, as one sender sees it.
#[derive(Clone, Debug)]
pub struct OutboxReceiver {
    /// Id of the receiver.
    pub id: String,
    /// Revision of its settings.
    pub revision: i64,
    /// Version of its cursor.
    pub version: i64,
    /// This sender holds it, and the lease was renewed.
    pub mine: bool,
    /// No sender holds it, or its holder's lease has expired.
    pub free: bool,
}

/// A receiver that this sender has just taken over.
#[derive(Clone, Debug)]
pub struct ClaimedCursor {
    /// Id of the receiver.
    pub receiver: String,
    /// Each event up to here is settled.
    pub cursor: FeedKey,
    /// Ids of settled events after the cursor.
    pub ahead: Vec<Uuid>,
    /// Version after the claim.
    pub version: i64,
    /// Time of the claim, by the database's clock: earlier senders may have begun to deliver what happened before.
    pub claimed_at: DateTime<Utc>,
}

impl Db {
    /// Records that `sender` is alive, renews its leases of `held`, and returns the enabled receivers.
    pub async fn beat_sender(&self, sender: Uuid, held: &[String], lease: Duration) -> Result<OutboxView, DbError> {
        let rows = sqlx::query!(
            "WITH beat AS (INSERT INTO receiver_senders (id, seen_at) VALUES ($1, clock_timestamp())
                           ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at),
                  renewed AS (UPDATE receiver_cursors SET expires_at = clock_timestamp() + $3::float8 * interval '1 second'
                              WHERE holder = $1 AND receiver_id = ANY ($2::text[]) RETURNING receiver_id)
             SELECT w.id, w.revision, c.version, r.receiver_id IS NOT NULL AS \"mine!\",
                    c.holder IS NULL OR c.holder = $1 OR c.expires_at < clock_timestamp() AS \"free!\",
                    ARRAY (SELECT s.id FROM receiver_senders s
                           WHERE s.id <> $1 AND s.seen_at > clock_timestamp() - $3::float8 * interval '1 second') AS \"others!\",
                    clock_timestamp() AS \"now!\"
             FROM receivers w JOIN receiver_cursors c ON c.receiver_id = w.id LEFT JOIN renewed r ON r.receiver_id = w.id
             WHERE w.disabled_at IS NULL ORDER BY w.id",
            sender,
            held,
            lease.as_secs_f64()
        )
        .fetch_all(&self.pool)
        .await?;
        let mut view = OutboxView { senders: vec![sender], ..OutboxView::default() };
        if let Some(first) = rows.first() {
            view.senders.extend(&first.others);
            view.now = Some(first.now);
        }
        let receivers = rows.into_iter().map(|row| OutboxReceiver {
            id: row.id,
            revision: row.revision,
            version: row.version,
            mine: row.mine,
            free: row.free,
        });
        view.receivers = receivers.collect();
        Ok(view)
    }

    /// Takes over those of `receivers` that no live sender holds.
    pub async fn claim_cursors(
        &self,
        sender: Uuid,
        receivers: &[String],
        lease: Duration,
    ) -> Result<Vec<ClaimedCursor>, DbError> {
        let rows = sqlx::query!(
            "UPDATE receiver_cursors SET holder = $1, expires_at = clock_timestamp() + $3::float8 * interval '1 second', version = version + 1
             WHERE receiver_id = ANY ($2) AND (holder IS NULL OR holder = $1 OR expires_at < clock_timestamp())
             RETURNING receiver_id, place, deployment_id, seq, ahead, version, clock_timestamp() AS \"claimed_at!\"",
            sender,
            receivers,
            lease.as_secs_f64()
        )
        .fetch_all(&self.pool)
        .await?;
        let claimed = rows.into_iter().map(|row| ClaimedCursor {
            receiver: row.receiver_id,
            cursor: FeedKey { transaction: row.place, deployment_id: row.deployment_id, seq: row.seq },
            ahead: row.ahead,
            version: row.version,
            claimed_at: row.claimed_at,
        });
        Ok(claimed.collect())
    }

    /// Lets other senders take over these receivers immediately.
    pub async fn release_cursors(&self, sender: Uuid, receivers: &[String]) -> Result<(), DbError> {
        sqlx::query!(
            "UPDATE receiver_cursors SET holder = NULL WHERE holder = $1 AND receiver_id = ANY ($2)",
            sender,
            receivers
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Removes a sender that ends, and releases everything that it holds.
    pub async fn end_sender(&self, sender: Uuid) -> Result<(), DbError> {
        sqlx::query!(
            "WITH ended AS (DELETE FROM receiver_senders WHERE id = $1)
             UPDATE receiver_cursors SET holder = NULL WHERE holder = $1",
            sender
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Deletes senders that have been silent for an hour.
    pub async fn delete_dead_senders(&self) -> Result<u64, DbError> {
        let deleted =
            sqlx::query!("DELETE FROM receiver_senders WHERE seen_at < clock_timestamp() - interval '1 hour'");
        Ok(deleted.execute(&self.pool).await?.rows_affected())
    }
}
