//! The newest failure of each receiver, for lists.

use chrono::{DateTime, Utc};

use crate::db::{Db, DbError};

/// The newest delivery of a receiver that has failed and was not delivered since.
#[derive(Clone, Debug)]
pub struct ReceiverFailure {
    /// Id of the receiver that refused it.
    pub receiver_id: String,
    /// Time of the last attempt.
    pub failed_at: DateTime<Utc>,
    /// Reason of the last attempt.
    pub error: String,
}

impl Db {
    /// Returns the newest failure of each of these receivers that has one.
    pub async fn receiver_failures(&self, ids: &[String]) -> Result<Vec<ReceiverFailure>, DbError> {
        let rows = sqlx::query_as!(
            ReceiverFailure,
            "SELECT r.id AS \"receiver_id!\", d.changed_at AS failed_at, d.last_error AS \"error!\"
             FROM unnest($1::text[]) AS r (id) CROSS JOIN LATERAL (
                 SELECT changed_at, last_error FROM receiver_deliveries
                 WHERE receiver_id = r.id AND state IN ('pending', 'dead') AND last_error IS NOT NULL
                 ORDER BY created_at DESC, event_id DESC LIMIT 1) d",
            ids
        );
        Ok(rows.fetch_all(&self.pool).await?)
    }
}
