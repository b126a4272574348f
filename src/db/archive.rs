//! Finished deployments whose retention is over: what reports need of them is kept in narrow tables, the rest goes.

use super::{Db, DbError};

impl Db {
    /// Moves those of `ids` that are finished into the archive, with their attempts and stages; their events, step runs and tickets are
    /// deleted. Returns the ids that were moved: one that is unknown, archived already, or was tried again in the meantime is left out.
    ///
    /// One transaction: a deployment is in one place or the other, and no figure of a report changes. Deployments with many events make
    /// it long: delete those before, in batches of their own.
    pub async fn archive_deployments(&self, ids: &[String]) -> Result<Vec<String>, DbError> {
        let mut tx = self.pool.begin().await?;
        // In the order of ids, as commits lock them. A retry that waits for the lock finds no row, and its deployment unknown.
        let chosen = sqlx::query_scalar!(
            "SELECT id FROM deployments WHERE id = ANY ($1) AND status IN ('COMPLETED', 'FAILED') ORDER BY id FOR UPDATE",
            ids
        )
        .fetch_all(&mut *tx)
        .await?;
        if chosen.is_empty() {
            return Ok(chosen);
        }
        sqlx::query!(
            "INSERT INTO archived_deployments (
                 id, status, owner, repo, branch, account_id, region, ecr_repository, attempt, step, interrupted_step, commit_sha,
                 committed_at, image_digest, execution_arn, code_deploy_deployment_id, blue_latency_ms, green_latency_ms,
                 blue_error_rate, green_error_rate, final_service, error_code, error_message, started_by, concurrency, superseded_by,
                 events, queued_at, turn_at, started_at, attempt_started_at, blue_green_started_at, ready_at, switch_requested_at,
                 cancel_requested_at, completed_at, build, reason, kind)
             SELECT id, status, owner, repo, branch, account_id, region, ecr_repository, attempt, step,
                    CASE WHEN step = 'cancel' THEN step_state ->> 'during' END, commit_sha,
                    committed_at, image_digest, execution_arn, code_deploy_deployment_id, blue_latency_ms, green_latency_ms,
                    blue_error_rate, green_error_rate, final_service, error_code, error_message, started_by, concurrency, superseded_by,
                    next_event_seq - 1, queued_at, turn_at, started_at, attempt_started_at, blue_green_started_at, ready_at,
                    switch_requested_at, cancel_requested_at, completed_at, build, reason, kind
             FROM deployments WHERE id = ANY ($1)",
            &chosen
        )
        .execute(&mut *tx)
        .await?;
        sqlx::query!(
            "INSERT INTO archived_attempts (
                 deployment_id, attempt, started_at, ended_at, step, interrupted_step, error_code, error_message, commit_sha, started_by,
                 queued_at, turn_at, blue_green_started_at, ready_at, switch_requested_at, cancel_requested_at, superseded_by)
             SELECT deployment_id, attempt, started_at, ended_at, step, interrupted_step, error_code, error_message, commit_sha, started_by,
                    queued_at, turn_at, blue_green_started_at, ready_at, switch_requested_at, cancel_requested_at, superseded_by
             FROM deployment_attempts WHERE deployment_id = ANY ($1)",
            &chosen
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
