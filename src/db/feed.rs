//! The events of all deployments in one order: `docs/decisions/0014-an-order-for-all-events.md`.
//!
//! An event's place is the id of the transaction that wrote it. Below the *horizon*, the oldest transaction that still runs, nothing can
//! be added any more: a reader that never goes beyond it misses nothing, in whichever order transactions commit.

use std::time::Duration;

use chrono::DateTime;
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

/// Where a reader of all events is. A failover to a server that lacks the newest transactions gives their ids to others: only place and id together are an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeedPosition {
    /// The place of the last event that was read.
    pub place: Place,
    /// Its id; none where no event is.
    pub id: Option<Uuid>,
}

impl FeedPosition {
    /// Whether this is another event of the same place.
    pub fn is_another(&self, than: &Self) -> bool {
        self.place == than.place && self.id.zip(than.id).is_some_and(|(one, other)| one != other)
    }
}

/// What follows an event among all.
#[derive(Debug)]
pub enum FeedPage {
    /// These, in order.
    Events(Vec<FeedEvent>),
    /// It is not in the table any more, and retention did not remove it.
    Lost,
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

impl FeedEvent {
    /// Where a reader is that has it.
    pub fn position(&self) -> FeedPosition {
        FeedPosition { place: self.place.clone(), id: Some(self.event.id) }
    }
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

    /// The newest event that no other can come before.
    pub async fn feed_end(&self) -> Result<FeedPosition, DbError> {
        let row = sqlx::query!(
            "SELECT place, deployment_id, seq, id FROM deployment_events
             WHERE place < (SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint + shift FROM event_clock)
             ORDER BY place DESC, deployment_id COLLATE \"C\" DESC, seq DESC LIMIT 1"
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.map_or_else(FeedPosition::default, |row| FeedPosition {
            place: Place { transaction: row.place, deployment_id: row.deployment_id, seq: row.seq },
            id: Some(row.id),
        }))
    }

    /// At most `limit` events after `after` and before the transaction `until`, in order; fewer, but one if there is one, when they would
    /// have more than `bytes`.
    ///
    /// The event before them and the horizon are read with them: between two statements, another server may have become the primary.
    pub async fn feed(&self, after: &FeedPosition, until: i64, limit: i64, bytes: i64) -> Result<FeedPage, DbError> {
        let rows = sqlx::query!(
            "SELECT e.place, e.deployment_id, e.seq, e.id, e.attempt, e.code, e.params, e.created_at,
                    coalesce(e.status, d.status) AS \"status!\", d.owner, d.repo, d.branch
             FROM (SELECT *, sum(octet_length(params::text)) FILTER (WHERE later) OVER (ORDER BY place, deployment_id COLLATE \"C\", seq) AS total,
                          count(*) FILTER (WHERE later) OVER (ORDER BY place, deployment_id COLLATE \"C\", seq) AS n
                   FROM (SELECT *, (place, deployment_id COLLATE \"C\", seq) > ($1, $2, $3) AS later FROM deployment_events
                         WHERE (place, deployment_id COLLATE \"C\", seq) >= ($1, $2, $3) AND place < $4
                           AND place < (SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint + shift FROM event_clock)
                         ORDER BY place, deployment_id COLLATE \"C\", seq LIMIT $5::bigint + 1) AS page) AS e
             JOIN deployments d ON d.id = e.deployment_id
             WHERE NOT e.later OR e.n = 1 OR e.total <= $6
             ORDER BY e.place, e.deployment_id COLLATE \"C\", e.seq",
            after.place.transaction,
            after.place.deployment_id,
            after.place.seq,
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
            let place = Place { transaction: row.place, deployment_id: row.deployment_id, seq: row.seq };
            let status = row.status.parse().map_err(DbError::Corrupt)?;
            Ok(FeedEvent { place, status, owner: row.owner, repo: row.repo, branch: row.branch, event })
        });
        let mut events: Vec<FeedEvent> = events.collect::<Result<_, DbError>>()?;
        let before = events.first().filter(|first| first.place == after.place).map(FeedEvent::position);
        if before.is_some() {
            events.remove(0);
        }
        if after.id.is_some() && before.as_ref() != Some(after) && !self.is_removed(after.place.transaction).await? {
            return Ok(FeedPage::Lost);
        }
        events.truncate(usize::try_from(limit).unwrap_or(0));
        Ok(FeedPage::Events(events))
    }

    /// Whether retention may have removed an event of a transaction.
    async fn is_removed(&self, transaction: i64) -> Result<bool, DbError> {
        Ok(sqlx::query_scalar!(
            "SELECT EXISTS (SELECT FROM maintenance_progress WHERE removed_place >= $1) AS \"removed!\"",
            transaction
        )
        .fetch_one(&self.pool)
        .await?)
    }

    /// Those of these events that are still in the table.
    pub async fn feed_survivors(&self, events: &[FeedPosition]) -> Result<Vec<Uuid>, DbError> {
        let deployments: Vec<String> = events.iter().map(|event| event.place.deployment_id.clone()).collect();
        let seqs: Vec<i64> = events.iter().map(|event| event.place.seq).collect();
        Ok(sqlx::query_scalar!(
            "SELECT e.id FROM unnest($1::text[], $2::bigint[]) AS sent (deployment_id, seq)
             JOIN deployment_events e ON e.deployment_id = sent.deployment_id AND e.seq = sent.seq",
            &deployments,
            &seqs
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// The place to go on from after the event `id`, written by `transaction`. When its row was removed by retention, that is the beginning
    /// of its transaction: what else was written there may be told again, and nothing is left out. None when there never was such an event.
    pub async fn feed_place(&self, transaction: i64, id: Uuid) -> Result<Option<FeedPosition>, DbError> {
        let place = sqlx::query_as!(
            Place,
            "SELECT place AS transaction, deployment_id, seq FROM deployment_events WHERE place = $1 AND id = $2",
            transaction,
            id
        )
        .fetch_optional(&self.pool)
        .await?;
        if let Some(place) = place {
            return Ok(Some(FeedPosition { place, id: Some(id) }));
        }
        let removed = self.is_removed(transaction).await?;
        Ok(removed.then(|| FeedPosition { place: Place::before(transaction), id: None }))
    }

    /// Where a reader resumes whose last event is not there and was lost a short while ago: a minute before the time that its id says, for that is another machine's clock.
    /// None when it is older than a day, and so no failover's.
    pub async fn feed_place_by_time(&self, id: Uuid) -> Result<Option<FeedPosition>, DbError> {
        let Some((seconds, nanos)) =
            id.get_timestamp().map(|time| time.to_unix()).filter(|_| id.get_version_num() == 7)
        else {
            return Ok(None);
        };
        let time = i64::try_from(seconds).ok().and_then(|seconds| DateTime::from_timestamp(seconds, nanos));
        // Not the plain least place, which would be looked up by reading all places from the lowest one on.
        let place = sqlx::query_scalar!(
            "SELECT min(place + 0) FROM deployment_events
             WHERE created_at >= $1::timestamptz - interval '1 minute' AND $1 BETWEEN now() - interval '1 day' AND now() + interval '1 minute'",
            time
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(place.map(|transaction| FeedPosition { place: Place::before(transaction), id: None }))
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
