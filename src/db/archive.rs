//! The archive: keeps what reports need of finished deployments in narrow tables, and deletes the rest.

use super::{Db, DbError};
use crate::domain::Facts;

impl Db {
    /// Moves those `ids` that are finished into the archive, with their attempts and stages, and deletes their events, step runs and tickets. Returns
    /// the ids that were moved: unknown deployments, archived ones and those retried in the meantime are left out.
    ///
    /// Uses one transaction, so that a deployment is in exactly one of the two places and no figure of a report changes. Many events make it long:
    /// delete them before, in separate batches.
    pub async fn archive_deployments(&self, ids: &[String]) -> Result<Vec<String>, DbError> {
        let mut tx = self.pool.begin().await?;
        // Locks in the order of ids, as commits do. A retry that waits for the lock finds no row afterwards, and reports the deployment as unknown.
        let chosen = sqlx::query_scalar!(
            "SELECT id FROM deployments WHERE id = ANY ($1) AND status IN ('COMPLETED', 'FAILED') AND NOT watched ORDER BY id FOR UPDATE",
            ids
        )
        .fetch_all(&mut *tx)
        .await?;
        if chosen.is_empty() {
            return Ok(chosen);
        }
        let archived = super::keys(Facts::ARCHIVED);
        sqlx::query!(
            "INSERT INTO archived_deployments (
                 id, status, owner, repo, branch, account_id, region, ecr_repository, attempt, step, interrupted_step, facts,
                 error_code, error_message, started_by, concurrency, superseded_by, events, queued_at, turn_at, started_at,
                 attempt_started_at, blue_green_started_at, ready_at, switch_requested_at, cancel_requested_at, completed_at, traffic_moved_at, outcome, build, reason,
                 kind, labels, start_audit_id, switch_audit_id, cancel_audit_id, caused_by, rollback_requested_at, rollback_audit_id)
             SELECT id, status, owner, repo, branch, account_id, region, ecr_repository, attempt, step,
                    CASE WHEN step = 'cancel' THEN step_state ->> 'during' END,
                    (SELECT coalesce(jsonb_object_agg(key, value), '{}') FROM jsonb_each(facts) WHERE key = ANY ($2)),
                    error_code, error_message, started_by, concurrency, superseded_by, next_event_seq - 1, queued_at, turn_at, started_at,
                    attempt_started_at, blue_green_started_at, ready_at, switch_requested_at, cancel_requested_at, completed_at, traffic_moved_at, outcome, build, reason,
                    kind, labels, start_audit_id, switch_audit_id, cancel_audit_id, caused_by, rollback_requested_at, rollback_audit_id
             FROM deployments WHERE id = ANY ($1)",
            &chosen,
            &archived
        )
        .execute(&mut *tx)
        .await?;
        sqlx::query!(
            "INSERT INTO archived_attempts (
                 deployment_id, attempt, started_at, ended_at, step, interrupted_step, error_code, error_message, facts, started_by,
                 queued_at, turn_at, blue_green_started_at, ready_at, switch_requested_at, cancel_requested_at, superseded_by, traffic_moved_at,
                 start_audit_id, switch_audit_id, cancel_audit_id, rollback_requested_at, rollback_audit_id)
             SELECT deployment_id, attempt, started_at, ended_at, step, interrupted_step, error_code, error_message,
                    (SELECT coalesce(jsonb_object_agg(key, value), '{}') FROM jsonb_each(facts) WHERE key = ANY ($2)), started_by,
                    queued_at, turn_at, blue_green_started_at, ready_at, switch_requested_at, cancel_requested_at, superseded_by, traffic_moved_at,
                    start_audit_id, switch_audit_id, cancel_audit_id, rollback_requested_at, rollback_audit_id
             FROM deployment_attempts WHERE deployment_id = ANY ($1)",
            &chosen,
            &archived
        )
        .execute(&mut *tx)
        .await?;
        sqlx::query!(
            "INSERT INTO archived_stages (deployment_id, attempt, stage, started_at, ended_at, working_seconds, waiting_seconds, tries)
             SELECT deployment_id, attempt, stage, started_at, ended_at, working_seconds, waiting_seconds, tries
             FROM history_stages WHERE deployment_id = ANY ($1)",
            &chosen
        )
        .execute(&mut *tx)
        .await?;
        sqlx::query!("DELETE FROM deployments WHERE id = ANY ($1)", &chosen).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(chosen)
    }
}
