//! What callers request of a deployment: columns that its driver reads. Each function is one statement of a command's transaction.

use sqlx::PgConnection;

use crate::db::DbError;
use crate::domain::deployment::Status;
use crate::domain::principal::{Scope, schedule_subject};
use crate::domain::production_outcome::ProductionOutcome;

/// Returns the principal that started the present attempt; for a deployment of a schedule or push hook, its owner.
pub async fn starter(connection: &mut PgConnection, id: &str) -> Result<Option<String>, DbError> {
    let starter = sqlx::query_scalar!(
        "SELECT coalesce(s.made_by, h.made_by, d.started_by)
             FROM deployments d
             LEFT JOIN push_hooks h ON d.started_by = 'hook:' || h.id
             LEFT JOIN schedule_runs r ON r.deployment_id = d.id
             LEFT JOIN schedules s ON s.id = r.schedule_id AND d.started_by = 'schedule:' || s.id
             WHERE d.id = $1",
        id
    );
    Ok(starter.fetch_optional(connection).await?.flatten())
}

/// Requests the switch of a ready deployment whose cancellation was not requested and, where a digest or the id of a pause is given, whose image or last
/// pause has it; false for any other. `audited` is the id of the request's audit row.
pub async fn request_switch(
    connection: &mut PgConnection,
    id: &str,
    (image_digest, pause): (Option<&str>, Option<&str>),
    audited: i64,
) -> Result<bool, DbError> {
    let updated = sqlx::query!(
        "UPDATE deployments SET switch_requested_at = coalesce(switch_requested_at, now()), switch_audit_id = coalesce(switch_audit_id, $2)
         WHERE id = $1 AND status = 'DEPLOYMENT_READY' AND cancel_requested_at IS NULL
           AND ($3::text IS NULL OR facts ->> 'image_digest' = $3) AND ($4::text IS NULL OR facts #>> '{pauses,-1,id}' = $4)",
        id,
        audited,
        image_digest,
        pause
    )
    .execute(connection)
    .await?;
    Ok(updated.rows_affected() == 1)
}

/// Returns the digest of the deployment's image; none before the push.
pub async fn image_digest(connection: &mut PgConnection, id: &str) -> Result<Option<String>, DbError> {
    let digest = sqlx::query_scalar!("SELECT facts ->> 'image_digest' FROM deployments WHERE id = $1", id);
    Ok(digest.fetch_optional(connection).await?.flatten())
}

/// Returns the id of the last pause of the deployment's rollout; none before the first, and for CodeDeploy.
pub async fn pause(connection: &mut PgConnection, id: &str) -> Result<Option<String>, DbError> {
    let pause = sqlx::query_scalar!("SELECT facts #>> '{pauses,-1,id}' FROM deployments WHERE id = $1", id);
    Ok(pause.fetch_optional(connection).await?.flatten())
}

/// Marks the outcome of a deployment whose traffic was on green in this attempt; false for any other.
pub async fn mark_outcome(
    connection: &mut PgConnection,
    id: &str,
    outcome: ProductionOutcome,
) -> Result<bool, DbError> {
    let updated = sqlx::query!(
        "UPDATE deployments SET outcome = $2 WHERE id = $1 AND status IN ('COMPLETED', 'FAILED') AND traffic_moved_at IS NOT NULL",
        id,
        outcome.as_str()
    )
    .execute(connection)
    .await?;
    Ok(updated.rows_affected() == 1)
}

/// As [`mark_outcome`], for an archived deployment of the scope: returns its owner and repository, or none when there is no such deployment whose traffic
/// was on green. The archive is not changed otherwise.
pub async fn mark_archived_outcome(
    connection: &mut PgConnection,
    id: &str,
    scope: &Scope,
    outcome: ProductionOutcome,
) -> Result<Option<(String, String)>, DbError> {
    let marked = sqlx::query!(
        "UPDATE archived_deployments SET outcome = $2, updated_at = greatest(clock_timestamp(), updated_at + interval '1 microsecond')
         WHERE id = $1 AND traffic_moved_at IS NOT NULL AND in_scope(owner, repo, $3) RETURNING owner, repo",
        id,
        outcome.as_str(),
        scope.sql()
    )
    .fetch_optional(connection)
    .await?;
    Ok(marked.map(|row| (row.owner, row.repo)))
}

/// Requests the cancellation of an unfinished deployment; false for any other. With `may_roll_back` false, also false when the switch was requested.
/// `audited` is the id of the request's audit row.
pub async fn request_cancel(
    connection: &mut PgConnection,
    id: &str,
    may_roll_back: bool,
    audited: i64,
) -> Result<bool, DbError> {
    let updated = sqlx::query!(
        "UPDATE deployments SET cancel_requested_at = coalesce(cancel_requested_at, now()), cancel_audit_id = coalesce(cancel_audit_id, $3)
         WHERE id = $1 AND status IN ('RUNNING', 'DEPLOYMENT_READY') AND ($2 OR switch_requested_at IS NULL)",
        id,
        may_roll_back,
        audited
    )
    .execute(connection)
    .await?;
    Ok(updated.rows_affected() == 1)
}

/// Requests the cancellation of the unfinished deployments `ids` in favour of `newer`, and returns their ids. Deployments cancelled before keep their
/// reason.
pub async fn supersede(connection: &mut PgConnection, ids: &[String], newer: &str) -> Result<Vec<String>, DbError> {
    Ok(sqlx::query_scalar!(
        "UPDATE deployments
         SET superseded_by = CASE WHEN cancel_requested_at IS NULL THEN $2 ELSE superseded_by END,
             cancel_requested_at = coalesce(cancel_requested_at, now())
         WHERE id = ANY ($1) AND status IN ('RUNNING', 'DEPLOYMENT_READY') RETURNING id",
        ids,
        newer
    )
    .fetch_all(connection)
    .await?)
}

/// Links a new deployment, and the deployments that it supersedes, to the audit row of its request.
pub async fn link_audit(
    connection: &mut PgConnection,
    id: &str,
    superseded: &[String],
    audited: i64,
) -> Result<(), DbError> {
    sqlx::query!(
        "UPDATE deployments SET start_audit_id = CASE id WHEN $1 THEN $2 ELSE start_audit_id END,
                                cancel_audit_id = CASE superseded_by WHEN $1 THEN coalesce(cancel_audit_id, $2) ELSE cancel_audit_id END
         WHERE id = $1 OR (id = ANY ($3) AND superseded_by = $1)",
        id,
        audited,
        superseded
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Requests the cancellation of queued deployments of a principal, of its push hooks, or of these schedules, and returns their ids. Running deployments continue:
/// stopping one halfway is a separate decision.
pub async fn cancel_queued(
    connection: &mut PgConnection,
    kind: &str,
    subject: &str,
    token: Option<&str>,
    schedules: &[String],
) -> Result<Vec<String>, DbError> {
    let schedules: Vec<String> = schedules.iter().map(|id| schedule_subject(id)).collect();
    Ok(sqlx::query_scalar!(
        "UPDATE deployments d SET cancel_requested_at = now()
         WHERE d.queued AND d.status = 'RUNNING' AND d.cancel_requested_at IS NULL
           AND (d.started_by = ANY ($4)
                OR d.started_by IN (SELECT 'hook:' || h.id FROM push_hooks h
                                    WHERE h.made_by_kind = $1 AND h.made_by = $2 AND ($3::text IS NULL OR h.made_by_token = $3))
                OR (d.started_by = $2 AND EXISTS (
                SELECT FROM audit a WHERE a.target = d.id AND a.action IN ('deploy', 'retry') AND a.result = 'done'
                  AND a.kind = $1 AND a.subject = $2 AND ($3::text IS NULL OR a.token_id = $3))))
         RETURNING d.id",
        kind,
        subject,
        token,
        &schedules
    )
    .fetch_all(connection)
    .await?)
}

/// Returns the status; none when the deployment does not exist.
pub async fn status(connection: &mut PgConnection, id: &str) -> Result<Option<Status>, DbError> {
    let status =
        sqlx::query_scalar!("SELECT status FROM deployments WHERE id = $1", id).fetch_optional(connection).await?;
    status.map(|status| status.parse().map_err(DbError::corrupt)).transpose()
}
