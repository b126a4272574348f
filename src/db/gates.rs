//! Events of gates, as the page shows them.

use chrono::{DateTime, Utc};

use super::{Db, DbError};

/// A measurement of a gate, or its end.
#[derive(Clone, Debug)]
pub struct GateEvent {
    /// `gate_measured`, `gate_passed` or `gate_not_passed`.
    pub code: String,
    /// Name of the gate.
    pub gate: String,
    /// Point of the rollout at which it runs.
    pub point: String,
    /// Result of a measurement.
    pub result: Option<String>,
    /// The number that was measured.
    pub value: Option<f64>,
    /// Description, in the form of the event's text.
    pub found: Option<String>,
    /// When it was recorded (database clock).
    pub at: DateTime<Utc>,
}

/// Most events of gates that are read, the newest ones.
const MAX_EVENTS: i64 = 500;

impl Db {
    /// Lists the events of an attempt's gates, oldest first.
    pub async fn gate_events(&self, id: &str, attempt: i32) -> Result<Vec<GateEvent>, DbError> {
        let mut events = sqlx::query_as!(
            GateEvent,
            "SELECT code, params ->> 'gate' AS \"gate!\", params ->> 'at' AS \"point!\", params ->> 'result' AS result,
                    (params ->> 'value')::float8 AS value, params ->> 'reason' AS found, created_at AS at
             FROM deployment_events
             WHERE deployment_id = $1 AND attempt = $2 AND code IN ('gate_measured', 'gate_passed', 'gate_not_passed')
             ORDER BY seq DESC LIMIT $3",
            id,
            attempt,
            MAX_EVENTS
        )
        .fetch_all(&self.pool)
        .await?;
        events.reverse();
        Ok(events)
    }
}
