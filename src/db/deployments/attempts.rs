//! Attempts after the first: what another one starts from.

use sqlx::PgConnection;

use crate::db::DbError;
use crate::domain::deployment::Facts;

/// How another attempt begins.
#[derive(Clone, Copy, Debug)]
pub struct AttemptBeginning {
    /// It waits in the queue.
    pub queued: bool,
    /// An approver overrode the freezes that hold it.
    pub freeze_overridden: bool,
}

/// Starts another attempt at `step` for the principal `started_by`; false unless the deployment is FAILED. `audited` is the id of the request's audit row.
///
/// Facts and commands that the new attempt could mistake for its own (execution, switch, URLs) are moved: into the state of its first step, which decides what
/// of them is still alive, and into `deployment_attempts`.
pub async fn begin_attempt(
    connection: &mut PgConnection,
    id: &str,
    step: &str,
    started_by: Option<&str>,
    audited: i64,
    beginning: AttemptBeginning,
) -> Result<bool, DbError> {
    let begun = sqlx::query!(
        "WITH ended AS (
             SELECT * FROM deployments WHERE id = $1 AND status = 'FAILED' FOR UPDATE
         ), kept AS (
             INSERT INTO deployment_attempts (deployment_id, attempt, started_at, ended_at, step, error_code, error_message, facts,
                                              switch_requested_at, cancel_requested_at, superseded_by, interrupted_step, started_by,
                                              queued_at, turn_at, blue_green_started_at, ready_at, start_audit_id, switch_audit_id,
                                              cancel_audit_id, rollback_requested_at, rollback_audit_id, traffic_moved_at)
             SELECT id, attempt, attempt_started_at, completed_at, step, error_code, error_message, facts,
                    switch_requested_at, cancel_requested_at, superseded_by,
                    CASE WHEN step = 'cancel' THEN step_state ->> 'during' END, started_by,
                    queued_at, turn_at, blue_green_started_at, ready_at, start_audit_id, switch_audit_id, cancel_audit_id,
                    rollback_requested_at, rollback_audit_id, traffic_moved_at
             FROM ended
         )
         UPDATE deployments d SET
             attempt = d.attempt + 1, status = 'RUNNING', error_code = NULL, error_message = NULL, completed_at = NULL,
             attempt_started_at = now(), step_started_at = now(), run_started_at = NULL, retried_at = now(), ready_at = NULL,
             blue_green_started_at = NULL, traffic_moved_at = NULL, outcome = NULL,
             queued = $6, queued_at = CASE WHEN $6 THEN clock_timestamp() END, turn_at = NULL, freeze_overridden = $7,
             policy_version = CASE WHEN NOT $6 THEN (policy_of(d.owner, d.repo, d.account_id, d.region)).version END,
             policy = CASE WHEN NOT $6 THEN (policy_of(d.owner, d.repo, d.account_id, d.region)).policy END, superseded_by = NULL,
             switch_requested_at = NULL, cancel_requested_at = NULL, rollback_requested_at = NULL, rollback_audit_id = NULL,
             replica_id = NULL, version = d.version + 1, claims_without_progress = 0, waiting_for = NULL, waiting_for_form = NULL,
             step = $2, started_by = $3, start_audit_id = $4, switch_audit_id = NULL, cancel_audit_id = NULL,
             -- An attempt that failed while it was finding out where to go on begins with what it was given.
             step_state = CASE WHEN d.step = $2 THEN d.step_state ELSE jsonb_build_object(
                 'step', d.step, 'state', d.step_state,
                 'past', d.facts - $5::text[]) END,
             facts = (SELECT coalesce(jsonb_object_agg(key, value), '{}') FROM jsonb_each(d.facts) WHERE key = ANY ($5))
         FROM ended WHERE d.id = ended.id",
        id,
        step,
        started_by,
        audited,
        &crate::db::keys(Facts::KEPT_BY_A_RETRY),
        beginning.queued,
        beginning.freeze_overridden
    )
    .execute(connection)
    .await?;
    Ok(begun.rows_affected() == 1)
}

/// Reports that a switch was requested in any attempt: another attempt may continue it.
pub async fn was_to_be_switched(connection: &mut PgConnection, id: &str) -> Result<bool, DbError> {
    let switched = sqlx::query_scalar!(
        "SELECT switch_requested_at IS NOT NULL OR EXISTS (
                SELECT FROM deployment_attempts a WHERE a.deployment_id = d.id AND a.switch_requested_at IS NOT NULL) AS \"any!\"
         FROM deployments d WHERE id = $1",
        id
    );
    Ok(switched.fetch_optional(connection).await?.unwrap_or(false))
}
