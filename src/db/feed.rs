//! The events of all deployments in one order: `docs/decisions/0014-an-order-for-all-events.md`.
//!
//! An event's place is the id of the transaction that wrote it. Below the *horizon*, the oldest transaction that still runs, nothing can
//! be added any more: a reader that never goes beyond it misses nothing, in whichever order transactions commit.

use std::time::Duration;

use serde_json::{Map, Value};
use uuid::Uuid;

use super::{Db, DbError};
use crate::domain::deployment::Status;
use crate::domain::event::StoredEvent;

/// A place in the order of all events; that of an event is its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The transaction, as the table has it.
    pub transaction: i64,
    /// The deployment; empty before the first event of the transaction.
    pub deployment_id: String,
    /// Its sequence number.
    pub seq: i64,
}

impl Place {
    /// Before every event of a transaction.
    pub fn before(transaction: i64) -> Self {
        Self { transaction, ..Self::default() }
    }
}

/// An event with what it is filtered by.
#[derive(Clone, Debug)]
pub struct FeedEvent {
    /// Where it is.
    pub place: Place,
    /// Status of the deployment after the event's commit.
    pub status: Status,
    /// Account or organisation of the source.
    pub owner: String,
    /// Repository of the source.
    pub repo: String,
    /// Branch.
    pub branch: String,
    /// The event itself.
    pub event: StoredEvent,
}

/// How far the events of all deployments can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedState {
    /// Every event of the transactions before this one is there.
    pub horizon: i64,
    /// The newest event's transaction; 0 when there is none.
    pub newest: i64,
    /// For how long the oldest committed event at or after the horizon has been waiting for older transactions.
    pub held_back: Option<Duration>,
    /// Events are stored of transactions that this cluster has not begun yet: they were restored from another one.
    pub restored: bool,
}

impl Db {
    /// How far events can be read now.
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

    /// At most `limit` events after `after` and before the transaction `until`, in order; fewer, but one if there is one, when they would
    /// have more than `bytes`.
    pub async fn feed(&self, after: &Place, until: i64, limit: i64, bytes: i64) -> Result<Vec<FeedEvent>, DbError> {
        let rows = sqlx::query!(
            "SELECT e.place, e.deployment_id, e.seq, e.id, e.attempt, e.code, e.params, e.created_at,
                    coalesce(e.status, d.status) AS \"status!\", d.owner, d.repo, d.branch
             FROM (SELECT *, sum(octet_length(params::text)) OVER (ORDER BY place, deployment_id COLLATE \"C\", seq) AS total,
                          row_number() OVER (ORDER BY place, deployment_id COLLATE \"C\", seq) AS n
                   FROM (SELECT * FROM deployment_events
                         WHERE (place, deployment_id COLLATE \"C\", seq) > ($1, $2, $3) AND place < $4
                         ORDER BY place, deployment_id COLLATE \"C\", seq LIMIT $5) AS page) AS e
             JOIN deployments d ON d.id = e.deployment_id
             WHERE e.n = 1 OR e.total <= $6
             ORDER BY e.place, e.deployment_id COLLATE \"C\", e.seq",
            after.transaction,
            after.deployment_id,
            after.seq,
            until,
            limit,
            bytes
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| {
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
                let place = Place { transaction: row.place, deployment_id: row.deployment_id, seq: row.seq };
                let status = row.status.parse().map_err(DbError::Corrupt)?;
                Ok(FeedEvent { place, status, owner: row.owner, repo: row.repo, branch: row.branch, event })
            })
            .collect()
    }

    /// The place to go on from after the event `id`, written by `transaction`. When its row was removed by retention, that is the beginning
    /// of its transaction: what else was written there may be told again, and nothing is left out. None when there never was such an event.
    pub async fn feed_place(&self, transaction: i64, id: Uuid) -> Result<Option<Place>, DbError> {
        let place = sqlx::query_as!(
            Place,
            "SELECT place AS transaction, deployment_id, seq FROM deployment_events WHERE place = $1 AND id = $2",
            transaction,
            id
        )
        .fetch_optional(&self.pool)
        .await?;
        if place.is_some() {
            return Ok(place);
        }
        let removed = sqlx::query_scalar!(
            "SELECT EXISTS (SELECT FROM maintenance_progress WHERE removed_place >= $1) AS \"removed!\"",
            transaction
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(removed.then(|| Place::before(transaction)))
    }

    /// Puts the events that this cluster will write behind those that were restored from another one; nothing when none were. True when
    /// something was to be done.
    pub async fn mend_event_order(&self) -> Result<bool, DbError> {
        if !self.feed_state().await?.restored {
            return Ok(false);
        }
        let mut tx = self.pool.begin().await?;
        // Whoever writes events meanwhile has ended, or waits and then sees the new value: no event gets an old place after this.
        sqlx::query!("LOCK TABLE deployment_events IN SHARE ROW EXCLUSIVE MODE").execute(&mut *tx).await?;
        let mended = sqlx::query!(
            "UPDATE event_clock SET shift = newest.place + 1
             FROM (SELECT max(place) AS place FROM deployment_events) AS newest
             WHERE newest.place >= pg_snapshot_xmax(pg_current_snapshot())::text::bigint + shift"
        )
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(mended.rows_affected() > 0)
    }
}
