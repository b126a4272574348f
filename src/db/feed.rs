//! The feed: events of all deployments in one order, described in `docs/decisions/0014-an-order-for-all-events.md`.
//!
//! Events are ordered by the id of the transaction that wrote them. Below the *horizon*, the oldest running transaction, no event can be added any
//! more: a reader that never passes the horizon misses nothing, whatever order transactions commit in.

use std::time::Duration;

use chrono::DateTime;
use serde_json::{Map, Value};
use sqlx::types::Json;
use uuid::Uuid;

use super::{Db, DbError};
use crate::domain::deployment::Status;
use crate::domain::event::StoredEvent;
use crate::domain::labels::Labels;

/// Sort key in the order of all events; unique for each event.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct FeedKey {
    /// Transaction id, in the column `place`.
    pub transaction: i64,
    /// Deployment id; empty before the first event of the transaction.
    pub deployment_id: String,
    /// Sequence number in the deployment.
    pub seq: i64,
}

impl FeedKey {
    /// Returns the key that precedes every event of a transaction.
    pub fn before(transaction: i64) -> Self {
        Self { transaction, ..Self::default() }
    }
}

/// Position of a reader in the feed. After a failover to a server that lacks the newest transactions, others get their ids: only key and id together
/// identify an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeedPosition {
    /// Key of the last event that was read.
    pub key: FeedKey,
    /// Id of that event; none where no event is at the key.
    pub id: Option<Uuid>,
}

impl FeedPosition {
    /// Reports that `than` is a different event with the same key.
    pub fn is_another(&self, than: &Self) -> bool {
        self.key == than.key && self.id.zip(than.id).is_some_and(|(one, other)| one != other)
    }
}

/// Events of the feed after a position.
#[derive(Debug)]
pub enum FeedPage {
    /// The following events, in order.
    Events(Vec<FeedEvent>),
    /// The event at the position is no longer in the table, and retention did not remove it.
    Lost,
}

/// An event with the attributes that it is filtered by.
#[derive(Clone, Debug)]
pub struct FeedEvent {
    /// Key in the order of all events.
    pub key: FeedKey,
    /// Status of the deployment after the event's commit.
    pub status: Status,
    /// Account or organisation of the source.
    pub owner: String,
    /// Repository of the source.
    pub repo: String,
    /// Branch of the deployment.
    pub branch: String,
    /// Labels of the deployment.
    pub labels: Labels,
    /// Event as the deployment's own stream has it.
    pub event: StoredEvent,
}

/// Range of the feed that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedState {
    /// All events of earlier transactions are visible.
    pub horizon: i64,
    /// Transaction of the newest event; 0 when there is none.
    pub newest: i64,
    /// Time for which the oldest committed event at or beyond the horizon has been waiting for older transactions.
    pub held_back: Option<Duration>,
    /// True if stored events have transaction ids that this cluster has not reached: they were restored from another cluster.
    pub restored: bool,
}

impl FeedEvent {
    /// Returns the position of a reader that has read this event.
    pub fn position(&self) -> FeedPosition {
        FeedPosition { key: self.key.clone(), id: Some(self.event.id) }
    }
}

impl Db {
    /// Returns the range of the feed that can be read now.
    pub async fn feed_state(&self) -> Result<FeedState, DbError> {
        let row = sqlx::query!(
            "SELECT bounds.horizon AS \"horizon!\", bounds.next AS \"next!\", newest.place AS \"newest?\",
                    extract(epoch FROM clock_timestamp() - waiting.created_at)::float8 AS \"held_back?\"
             FROM (SELECT pg_snapshot_xmin(now)::text::bigint + shift AS horizon,
                          pg_snapshot_xmax(now)::text::bigint + shift AS next
                   FROM event_clock, pg_current_snapshot() AS now) AS bounds
             LEFT JOIN LATERAL (SELECT place FROM deployment_events ORDER BY place DESC LIMIT 1) AS newest ON true
             LEFT JOIN LATERAL (SELECT created_at FROM deployment_events WHERE place >= bounds.horizon
                                ORDER BY place LIMIT 1) AS waiting ON true"
        )
        .fetch_one(&self.pool)
        .await?;
        let newest = row.newest.unwrap_or(0);
        let held_back = row.held_back.map(|seconds| Duration::try_from_secs_f64(seconds).unwrap_or_default());
        Ok(FeedState { horizon: row.horizon, newest, held_back, restored: newest >= row.next })
    }

    /// Returns the position of the newest event below the horizon.
    pub async fn feed_end(&self) -> Result<FeedPosition, DbError> {
        let row = sqlx::query!(
            "SELECT place, deployment_id, seq, id FROM deployment_events
             WHERE place < (SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint + shift FROM event_clock)
             ORDER BY place DESC, deployment_id COLLATE \"C\" DESC, seq DESC LIMIT 1"
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.map_or_else(FeedPosition::default, |row| FeedPosition {
            key: FeedKey { transaction: row.place, deployment_id: row.deployment_id, seq: row.seq },
            id: Some(row.id),
        }))
    }

    /// Lists at most `limit` events after `after` and before the transaction `until`, in order. Returns fewer, but at least one if there is one, when
    /// they would exceed `bytes`.
    ///
    /// The preceding event and the horizon are read in the same statement: between two statements, another server may have become the primary.
    pub async fn feed(&self, after: &FeedPosition, until: i64, limit: i64, bytes: i64) -> Result<FeedPage, DbError> {
        let rows = sqlx::query!(
            "SELECT e.place, e.deployment_id, e.seq, e.id, e.attempt, e.code, e.params, e.created_at,
                    e.status, d.owner, d.repo, d.branch, d.labels AS \"labels: Json<Labels>\"
             FROM (SELECT *, sum(octet_length(params::text)) FILTER (WHERE later) OVER (ORDER BY place, deployment_id COLLATE \"C\", seq) AS total,
                          count(*) FILTER (WHERE later) OVER (ORDER BY place, deployment_id COLLATE \"C\", seq) AS n
                   FROM (SELECT *, (place, deployment_id COLLATE \"C\", seq) > ($1, $2, $3) AS later FROM deployment_events
                         WHERE (place, deployment_id COLLATE \"C\", seq) >= ($1, $2, $3) AND place < $4
                           AND place < (SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint + shift FROM event_clock)
                         ORDER BY place, deployment_id COLLATE \"C\", seq LIMIT $5::bigint + 1) AS page) AS e
             JOIN deployments d ON d.id = e.deployment_id
             WHERE NOT e.later OR e.n = 1 OR e.total <= $6
             ORDER BY e.place, e.deployment_id COLLATE \"C\", e.seq",
            after.key.transaction,
            after.key.deployment_id,
            after.key.seq,
            until,
            limit,
            bytes
        )
        .fetch_all(&self.pool)
        .await?;
        let events = rows.into_iter().map(|row| {
            let event = StoredEvent {
                seq: row.seq,
                id: row.id,
                attempt: row.attempt,
                code: row.code,
                params: match row.params {
                    Value::Object(params) => params,
                    _ => Map::new(),
                },
                created_at: row.created_at,
            };
            let key = FeedKey { transaction: row.place, deployment_id: row.deployment_id, seq: row.seq };
            let status = row.status.parse().map_err(DbError::corrupt)?;
            let (owner, repo, branch, labels) = (row.owner, row.repo, row.branch, row.labels.0);
            Ok(FeedEvent { key, status, owner, repo, branch, labels, event })
        });
        let mut events: Vec<FeedEvent> = events.collect::<Result<_, DbError>>()?;
        let before = events.first().filter(|first| first.key == after.key).map(FeedEvent::position);
        if before.is_some() {
            events.remove(0);
        }
        if after.id.is_some() && before.as_ref() != Some(after) && !self.is_removed(after.key.transaction).await? {
            return Ok(FeedPage::Lost);
        }
        events.truncate(usize::try_from(limit).unwrap_or(0));
        Ok(FeedPage::Events(events))
    }

    /// Reports that retention may have removed an event of a transaction.
    async fn is_removed(&self, transaction: i64) -> Result<bool, DbError> {
        Ok(sqlx::query_scalar!(
            "SELECT EXISTS (SELECT FROM maintenance_progress WHERE removed_place >= $1) AS \"removed!\"",
            transaction
        )
        .fetch_one(&self.pool)
        .await?)
    }

    /// Returns the ids of those events that are still in the table.
    pub async fn feed_survivors(&self, events: &[FeedPosition]) -> Result<Vec<Uuid>, DbError> {
        let deployments: Vec<String> = events.iter().map(|event| event.key.deployment_id.clone()).collect();
        let seqs: Vec<i64> = events.iter().map(|event| event.key.seq).collect();
        Ok(sqlx::query_scalar!(
            "SELECT e.id FROM unnest($1::text[], $2::bigint[]) AS sent (deployment_id, seq)
             JOIN deployment_events e ON e.deployment_id = sent.deployment_id AND e.seq = sent.seq",
            &deployments,
            &seqs
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// Returns the position to resume from after the event `id`, written by `transaction`. If retention has removed that event, this is the beginning
    /// of its transaction: other events of it may be delivered again, and none is left out. None when the event never existed.
    pub async fn feed_resume_position(&self, transaction: i64, id: Uuid) -> Result<Option<FeedPosition>, DbError> {
        let key = sqlx::query_as!(
            FeedKey,
            "SELECT place AS transaction, deployment_id, seq FROM deployment_events WHERE place = $1 AND id = $2",
            transaction,
            id
        )
        .fetch_optional(&self.pool)
        .await?;
        if let Some(key) = key {
            return Ok(Some(FeedPosition { key, id: Some(id) }));
        }
        let removed = self.is_removed(transaction).await?;
        Ok(removed.then(|| FeedPosition { key: FeedKey::before(transaction), id: None }))
    }

    /// Returns the position to resume from when the reader's last event was lost in a recent failover: one minute before the time in its id, because
    /// that is another machine's clock. None when the id is older than a day, which no failover explains.
    pub async fn feed_position_by_time(&self, id: Uuid) -> Result<Option<FeedPosition>, DbError> {
        let Some((seconds, nanos)) =
            id.get_timestamp().map(|time| time.to_unix()).filter(|_| id.get_version_num() == 7)
        else {
            return Ok(None);
        };
        let time = i64::try_from(seconds).ok().and_then(|seconds| DateTime::from_timestamp(seconds, nanos));
        // `place + 0`, because the plain minimum would be looked up by reading all places from the lowest one on.
        let transaction = sqlx::query_scalar!(
            "SELECT min(place + 0) FROM deployment_events
             WHERE created_at >= $1::timestamptz - interval '1 minute' AND $1 BETWEEN now() - interval '1 day' AND now() + interval '1 minute'",
            time
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(transaction.map(|transaction| FeedPosition { key: FeedKey::before(transaction), id: None }))
    }

    /// Moves the order of future events behind events restored from another cluster. Returns true when that was necessary.
    pub async fn repair_event_order(&self) -> Result<bool, DbError> {
        if !self.feed_state().await?.restored {
            return Ok(false);
        }
        let mut tx = self.pool.begin().await?;
        // Concurrent writers of events have ended, or wait for the lock and then see the new value: no event gets an old place after this.
        sqlx::query!("LOCK TABLE deployment_events IN SHARE ROW EXCLUSIVE MODE").execute(&mut *tx).await?;
        let updated = sqlx::query!(
            "UPDATE event_clock SET shift = newest.place + 1
             FROM (SELECT max(place) AS place FROM deployment_events) AS newest
             WHERE newest.place >= pg_snapshot_xmax(pg_current_snapshot())::text::bigint + shift"
        )
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(updated.rows_affected() > 0)
    }
}
