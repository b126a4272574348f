//! Deployments as receivers show them, with what was made for them outside.

use serde_json::{Map, Value};
use sqlx::types::Json;
use uuid::Uuid;

use crate::db::{Db, DbError};
use crate::domain::deployment::Facts;
use crate::domain::event::StoredEvent;
use crate::domain::labels::Labels;
use crate::domain::receiver::snapshot::DeploymentSnapshot;

/// Most milestones that one delivery shows.
const MAX_MILESTONES: i64 = 20;

/// A deployment with what a receiver shows of it.
#[derive(Clone, Debug)]
pub struct StoredProjection {
    /// The deployment at the time of the statement.
    pub deployment: DeploymentSnapshot,
    /// Ids of what was made for it; none before.
    pub reference: Option<Value>,
    /// Sequence number of the newest event that is shown; 0 before the first.
    pub shown: i64,
}

impl Db {
    /// Reads a deployment and what a receiver shows of it; none when it does not exist any more. `milestones` are codes of events.
    pub async fn projection(
        &self,
        receiver: &str,
        deployment: &str,
        milestones: &[String],
    ) -> Result<Option<StoredProjection>, DbError> {
        let row = sqlx::query!(
            "SELECT d.github_connection_id, d.owner, d.repo, d.branch, d.kind, d.account_id, d.region, d.labels AS \"labels!: Json<Labels>\", d.attempt, d.status,
                    d.queued, d.error_code, d.started_by, d.started_at, d.switch_requested_at IS NOT NULL AS \"switch_requested!\",
                    d.facts AS \"facts: Json<Facts>\", d.next_event_seq - 1 AS \"last_seq!\",
                    r.seq AS \"shown?\", r.reference AS \"reference?\",
                    coalesce((SELECT jsonb_agg(jsonb_build_object('seq', e.seq, 'id', e.id, 'attempt', e.attempt, 'code', e.code,
                                                                  'params', e.params, 'created_at', e.created_at) ORDER BY e.seq)
                              FROM (SELECT * FROM deployment_events e
                                    WHERE e.deployment_id = d.id AND e.seq > coalesce(r.seq, 0) AND e.seq < d.next_event_seq
                                      AND e.code = ANY ($3)
                                    ORDER BY e.seq DESC LIMIT $4) AS e), '[]') AS \"milestones!: Json<Vec<Milestone>>\"
             FROM deployments d LEFT JOIN receiver_references r ON r.receiver_id = $1 AND r.deployment_id = d.id
             WHERE d.id = $2",
            receiver,
            deployment,
            milestones,
            MAX_MILESTONES
        )
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let deployment = DeploymentSnapshot {
            id: deployment.to_owned(),
            github_connection_id: row.github_connection_id,
            owner: row.owner,
            repo: row.repo,
            branch: row.branch,
            kind: row.kind,
            account_id: row.account_id,
            region: row.region,
            labels: row.labels.0,
            attempt: row.attempt,
            status: row.status.parse().map_err(DbError::corrupt)?,
            queued: row.queued,
            error_code: row.error_code,
            started_by: row.started_by,
            started_at: row.started_at,
            switch_requested: row.switch_requested,
            facts: row.facts.0,
            last_seq: row.last_seq,
            milestones: row.milestones.0.into_iter().map(StoredEvent::from).collect(),
        };
        Ok(Some(StoredProjection { deployment, reference: row.reference, shown: row.shown.unwrap_or(0) }))
    }
}

/// An event as the statement returns it.
#[derive(Debug, serde::Deserialize)]
struct Milestone {
    seq: i64,
    id: Uuid,
    attempt: i32,
    code: String,
    params: Map<String, Value>,
    created_at: chrono::DateTime<chrono::Utc>,
}

impl From<Milestone> for StoredEvent {
    fn from(row: Milestone) -> Self {
        Self {
            seq: row.seq,
            id: row.id,
            attempt: row.attempt,
            code: row.code,
            params: row.params,
            created_at: row.created_at,
        }
    }
}
