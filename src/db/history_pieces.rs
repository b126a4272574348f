//! Stored events of executions, which `commit` writes.

use super::{Db, DbError};
use crate::domain::history::StoredPiece;

/// Most bytes of stored events that are read of one deployment: several attempts with the largest histories.
const MAX_BYTES: i64 = 67_108_864;

/// Stored events of all executions that a deployment followed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StoredHistory {
    /// AWS account of the deployment's target; empty when no events are stored.
    pub account_id: String,
    /// The events, in the order of their commits.
    pub pieces: Vec<StoredPiece>,
}

impl Db {
    /// Returns the stored events of `deployment_id`, up to a limit of 64 MiB.
    pub async fn stored_history(&self, deployment_id: &str) -> Result<StoredHistory, DbError> {
        let rows = sqlx::query!(
            "SELECT d.account_id, p.attempt AS \"attempt!\", p.execution_arn AS \"execution_arn!\", p.events AS \"events!\"
             FROM (SELECT *, sum(octet_length(events)) OVER (ORDER BY version) AS total FROM history_pieces WHERE deployment_id = $1) AS p
             JOIN deployments d ON d.id = p.deployment_id
             WHERE p.total <= $2 ORDER BY p.version",
            deployment_id,
            MAX_BYTES
        )
        .fetch_all(&self.pool)
        .await?;
        let mut history = StoredHistory::default();
        for row in rows {
            let events = serde_json::from_str(&row.events)
                .map_err(|error| DbError::Corrupt(format!("events of {}: {error}", row.execution_arn)))?;
            history.account_id = row.account_id;
            history.pieces.push(StoredPiece { attempt: row.attempt, execution_arn: row.execution_arn, events });
        }
        Ok(history)
    }
}
