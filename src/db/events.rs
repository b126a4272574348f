//! Events of deployments; streams read this table. `commit` writes those of steps, commands append theirs.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Db, DbError};
use crate::domain::catalogue::Lang;
use crate::domain::deployment::Status;
use crate::domain::event::{Event, StoredEvent};

/// State of a deployment that a stream needs besides its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamState {
    /// Present status of the deployment.
    pub status: Status,
    /// Sequence number of the newest event; 0 before the first.
    pub last_seq: i64,
    /// Id of that event; none before the first.
    pub last_id: Option<Uuid>,
    /// True if the reconciler will add events without a manual action.
    pub active: bool,
}

/// Position of a reader in a deployment's events. After a failover to a server that lacks the newest events, other events get their numbers: only
/// number and id together identify an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventPosition {
    /// Sequence number of the last event that was read; 0 before the first.
    pub seq: i64,
    /// Id of that event; none before the first, and where it is unknown.
    pub id: Option<Uuid>,
}

impl StreamState {
    /// Returns the position of the newest event.
    pub fn newest(&self) -> EventPosition {
        EventPosition { seq: self.last_seq, id: self.last_id }
    }
}

impl EventPosition {
    /// Reports that `than` is a different event with the same number.
    pub fn is_another(self, than: Self) -> bool {
        self.seq == than.seq && self.id.zip(than.id).is_some_and(|(one, other)| one != other)
    }
}

/// Events after a position.
#[derive(Debug)]
pub enum EventsAfter {
    /// The following events, in order.
    Events(Vec<StoredEvent>),
    /// The event at the position was lost: its number belongs to another event now.
    Lost,
}

impl Db {
    /// Lists at most `limit` events of `deployment_id` after `after_seq`, in order. Retention may have removed some of a finished deployment.
    pub async fn events_after(
        &self,
        deployment_id: &str,
        after_seq: i64,
        limit: i64,
    ) -> Result<Vec<StoredEvent>, DbError> {
        let after = EventPosition { seq: after_seq, id: None };
        match self.events_page(deployment_id, after, limit, i64::MAX).await? {
            EventsAfter::Events(events) => Ok(events),
            EventsAfter::Lost => Ok(Vec::new()),
        }
    }

    /// Lists at most `limit` events of `deployment_id` after `after`, in order. Returns fewer, but at least one if there is one, when their
    /// parameters would exceed `bytes`.
    ///
    /// The preceding event is read in the same statement: between two statements, another server may have become the primary.
    pub async fn events_page(
        &self,
        deployment_id: &str,
        after: EventPosition,
        limit: i64,
        bytes: i64,
    ) -> Result<EventsAfter, DbError> {
        let rows = sqlx::query!(
            "SELECT seq, id, attempt, code, params, created_at
             FROM (SELECT *, sum(octet_length(params::text)) FILTER (WHERE seq > $2) OVER (ORDER BY seq) AS total,
                          count(*) FILTER (WHERE seq > $2) OVER (ORDER BY seq) AS n
                   FROM (SELECT * FROM deployment_events WHERE deployment_id = $1 AND seq >= $2
                         ORDER BY seq LIMIT $3::bigint + 1) AS page) AS page
             WHERE seq = $2 OR total <= $4 OR n = 1 ORDER BY seq",
            deployment_id,
            after.seq,
            limit,
            bytes
        )
        .fetch_all(&self.pool)
        .await?;
        // Retention may have removed the event itself, but never an event that replaced it after a failover.
        let before = rows.first().map(|row| EventPosition { seq: row.seq, id: Some(row.id) });
        if before.is_some_and(|before| before.is_another(after)) {
            return Ok(EventsAfter::Lost);
        }
        let events = rows.into_iter().filter(|row| row.seq > after.seq).map(|row| StoredEvent {
            seq: row.seq,
            id: row.id,
            attempt: row.attempt,
            code: row.code,
            params: match row.params {
                Value::Object(params) => params,
                _ => Map::new(),
            },
            created_at: row.created_at,
        });
        Ok(EventsAfter::Events(events.take(usize::try_from(limit).unwrap_or(0)).collect()))
    }

    /// Lists the events of `deployment_id` with one of `codes`, in order. For codes of which a deployment has few.
    pub async fn events_of(&self, deployment_id: &str, codes: &[String]) -> Result<Vec<StoredEvent>, DbError> {
        let rows = sqlx::query!(
            "SELECT seq, id, attempt, code, params, created_at FROM deployment_events
             WHERE deployment_id = $1 AND code = ANY($2) ORDER BY seq",
            deployment_id,
            codes
        )
        .fetch_all(&self.pool)
        .await?;
        let event = |row: (i64, Uuid, i32, String, Value, DateTime<Utc>)| {
            let (seq, id, attempt, code, params, created_at) = row;
            let params = if let Value::Object(params) = params { params } else { Map::new() };
            StoredEvent { seq, id, attempt, code, params, created_at }
        };
        let rows = rows.into_iter().map(|row| (row.seq, row.id, row.attempt, row.code, row.params, row.created_at));
        Ok(rows.map(event).collect())
    }

    /// Returns the sequence number of the event `id` in `deployment_id`; none when that deployment has no such event.
    pub async fn event_seq(&self, deployment_id: &str, id: Uuid) -> Result<Option<i64>, DbError> {
        Ok(sqlx::query_scalar!(
            "SELECT seq FROM deployment_events WHERE deployment_id = $1 AND id = $2",
            deployment_id,
            id
        )
        .fetch_optional(&self.pool)
        .await?)
    }

    /// Returns the state that a stream needs; none when the deployment does not exist.
    pub async fn stream_state(&self, deployment_id: &str) -> Result<Option<StreamState>, DbError> {
        let row = sqlx::query!(
            "SELECT status, next_event_seq - 1 AS \"last_seq!\",
                    (SELECT e.id FROM deployment_events e WHERE e.deployment_id = d.id AND e.seq = d.next_event_seq - 1) AS last_id,
                    (active OR status = 'RUNNING') AS \"active!\"
             FROM deployments d WHERE id = $1",
            deployment_id
        )
        .fetch_optional(&self.pool)
        .await?;
        row.map(|row| {
            let status = row.status.parse().map_err(DbError::corrupt)?;
            Ok(StreamState { status, last_seq: row.last_seq, last_id: row.last_id, active: row.active })
        })
        .transpose()
    }

    /// Returns the states of many deployments in one query; unknown ids are left out.
    pub async fn stream_states(&self, deployment_ids: &[String]) -> Result<Vec<(String, StreamState)>, DbError> {
        let rows = sqlx::query!(
            "SELECT id, status, next_event_seq - 1 AS \"last_seq!\",
                    (SELECT e.id FROM deployment_events e WHERE e.deployment_id = d.id AND e.seq = d.next_event_seq - 1) AS last_id,
                    (active OR status = 'RUNNING') AS \"active!\"
             FROM deployments d WHERE id = ANY ($1)",
            deployment_ids
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| {
                let status = row.status.parse().map_err(DbError::corrupt)?;
                Ok((row.id, StreamState { status, last_seq: row.last_seq, last_id: row.last_id, active: row.active }))
            })
            .collect()
    }
}

/// Appends an event that a command causes, within its transaction, unless the attempt has an event with that key. The row's lock orders it before or after
/// the commits of a replica, which count from the same number.
pub async fn append(connection: &mut PgConnection, deployment_id: &str, event: &Event) -> Result<(), DbError> {
    let rendered = event.render(Lang::Ko);
    let stage = rendered.details.as_ref().and_then(|details| details.get("stage")).and_then(Value::as_i64);
    sqlx::query!(
        "WITH counted AS (
             UPDATE deployments d SET next_event_seq = next_event_seq + 1
             WHERE id = $1 AND NOT EXISTS (SELECT FROM deployment_events e WHERE e.deployment_id = d.id AND e.attempt = d.attempt AND e.key = $3)
             RETURNING attempt, status, next_event_seq - 1 AS seq)
         INSERT INTO deployment_events (deployment_id, seq, id, attempt, key, code, type, stage, message, details, params, status)
         SELECT $1, seq, $2, attempt, $3, $4, $5, $6, $7, $8, $9, status FROM counted",
        deployment_id,
        Uuid::now_v7(),
        event.key,
        event.code.as_str(),
        rendered.event_type.as_str(),
        stage.and_then(|stage| i32::try_from(stage).ok()),
        rendered.message,
        rendered.details.map(Value::Object),
        Value::Object(event.params.clone()),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Returns the stage (1 to 4) that a deployment has reached: that of its newest event with a stage.
pub async fn latest_stage(connection: &mut PgConnection, deployment_id: &str) -> Result<Option<i32>, DbError> {
    Ok(sqlx::query_scalar!(
        "SELECT stage AS \"stage!\" FROM deployment_events WHERE deployment_id = $1 AND stage IS NOT NULL
             ORDER BY seq DESC LIMIT 1",
        deployment_id
    )
    .fetch_optional(connection)
    .await?)
}
