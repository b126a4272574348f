//! Deliveries that failed, or wait behind one that did.

use serde_json::{Map, Value};
use sqlx::types::Json;
use uuid::Uuid;

use crate::db::feed::{FeedEvent, FeedKey};
use crate::db::{Db, DbError};
use crate::domain::event::StoredEvent;
use crate::domain::labels::Labels;

/// State of a delivery that has a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr, strum::EnumString)]
#[strum(serialize_all = "lowercase")]
pub enum DeliveryState {
    /// It is tried again.
    Pending,
    /// An earlier event of its deployment is pending.
    Waiting,
    /// The receiver accepted it, not at the first attempt.
    Delivered,
    /// Its last attempt failed.
    Dead,
}

impl DeliveryState {
    /// Returns the name used in the table and on the wire.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// A delivery that is due again.
#[derive(Debug)]
pub struct DueDelivery {
    /// Id of the receiver.
    pub receiver: String,
    /// Id of the event, which is the delivery's.
    pub event_id: Uuid,
    /// The event's key in the order of all events.
    pub key: FeedKey,
    /// Failed attempts since the last replay.
    pub attempts: i32,
    /// The event; none when retention has removed it.
    pub event: Option<FeedEvent>,
}

impl Db {
    /// Counts the pending and waiting deliveries of these receivers, by receiver and deployment.
    pub async fn open_deliveries(&self, receivers: &[String]) -> Result<Vec<(String, String, i64)>, DbError> {
        let rows = sqlx::query!(
            "SELECT receiver_id, deployment_id, count(*) AS \"count!\" FROM receiver_deliveries
             WHERE receiver_id = ANY ($1) AND state IN ('pending', 'waiting') GROUP BY receiver_id, deployment_id",
            receivers
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(|row| (row.receiver_id, row.deployment_id, row.count)).collect())
    }

    /// Lists deliveries that are due, at most `limit` of each receiver, besides those of `in_flight`.
    pub async fn due_deliveries(
        &self,
        receivers: &[String],
        in_flight: &[Uuid],
        limit: i64,
    ) -> Result<Vec<DueDelivery>, DbError> {
        let rows = sqlx::query!(
            "SELECT r.receiver_id AS \"receiver_id!\", r.event_id AS \"event_id!\", r.place AS \"place!\",
                    r.deployment_id AS \"deployment_id!\", r.seq AS \"seq!\", r.attempts AS \"attempts!\",
                    e.attempt AS \"attempt?\", e.code AS \"code?\", e.params AS \"params?\", e.created_at AS \"created_at?\",
                    e.status AS \"status?\", d.owner AS \"owner?\", d.repo AS \"repo?\", d.branch AS \"branch?\",
                    d.labels AS \"labels?: Json<Labels>\"
             FROM unnest($1::text[]) AS held (id)
             CROSS JOIN LATERAL (SELECT * FROM receiver_deliveries
                                 WHERE receiver_id = held.id AND state = 'pending' AND next_attempt_at <= clock_timestamp()
                                   AND event_id <> ALL ($2::uuid[])
                                 ORDER BY next_attempt_at LIMIT $3) AS r
             LEFT JOIN deployment_events e ON e.deployment_id = r.deployment_id AND e.seq = r.seq AND e.id = r.event_id
             LEFT JOIN deployments d ON d.id = e.deployment_id
             ORDER BY r.place, r.deployment_id COLLATE \"C\", r.seq",
            receivers,
            in_flight,
            limit
        )
        .fetch_all(&self.pool)
        .await?;
        let mut due = Vec::with_capacity(rows.len());
        for row in rows {
            let key = FeedKey { transaction: row.place, deployment_id: row.deployment_id, seq: row.seq };
            let found = row.attempt.zip(row.code).zip(row.params).zip(row.created_at).zip(row.status);
            let source = row.owner.zip(row.repo).zip(row.branch).zip(row.labels);
            let event = match found.zip(source) {
                Some((((((attempt, code), params), created_at), status), (((owner, repo), branch), labels))) => {
                    Some(FeedEvent {
                        key: key.clone(),
                        status: status.parse().map_err(DbError::corrupt)?,
                        owner,
                        repo,
                        branch,
                        labels: labels.0,
                        event: StoredEvent {
                            seq: key.seq,
                            id: row.event_id,
                            attempt,
                            code,
                            params: match params {
                                Value::Object(params) => params,
                                _ => Map::new(),
                            },
                            created_at,
                        },
                    })
                }
                None => None,
            };
            due.push(DueDelivery {
                receiver: row.receiver_id,
                event_id: row.event_id,
                key,
                attempts: row.attempts,
                event,
            });
        }
        Ok(due)
    }

    /// Deletes up to `limit` rows of deliveries that ended more than 30 days ago.
    pub async fn delete_old_deliveries(&self, limit: i64) -> Result<u64, DbError> {
        let deleted = sqlx::query!(
            "DELETE FROM receiver_deliveries WHERE (receiver_id, event_id) IN (
                 SELECT receiver_id, event_id FROM receiver_deliveries
                 WHERE state IN ('delivered', 'dead') AND changed_at < clock_timestamp() - interval '30 days'
                 ORDER BY changed_at LIMIT $1)",
            limit
        );
        Ok(deleted.execute(&self.pool).await?.rows_affected())
    }
}
