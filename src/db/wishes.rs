//! What people wish for a deployment: the switch, its end, another attempt. A wish is a column, or for a retry the row's new attempt;
//! it causes no outside effect.

use serde_json::{Value, json};
use sqlx::PgConnection;

use super::audit::{self, Entry};
use super::idempotency::{IdempotencyKey, Once, keep, reserve};
use super::{Db, DbError, create, deployments, turns};
use crate::domain::audit::Action;
use crate::domain::deployment::Status;
use crate::domain::principal::{Caller, Role};

/// What can be wished for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// The traffic on green.
    Switch {
        /// Whether whoever started the attempt may not ask for it.
        by_another: bool,
    },
    /// The end of the deployment.
    Cancel,
    /// Another attempt of a failed one, which begins at this step.
    Retry {
        /// Stored name of the step that finds out where to go on.
        step: &'static str,
    },
}

impl Wish {
    fn action(self) -> Action {
        match self {
            Self::Switch { .. } => Action::Switch,
            Self::Cancel => Action::Cancel,
            Self::Retry { .. } => Action::Retry,
        }
    }
}

/// What became of a wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wished {
    /// It is wished, now or (switch and cancel) before.
    Accepted,
    /// Not in this status.
    NotNow(Status),
    /// Retry: this connection was removed.
    ConnectionRemoved(String),
    /// Retry: this role has to be connected again first.
    ConnectionOutdated(String),
    /// Retry: this deployment holds the target, or waits for it.
    TargetTaken(String),
    /// Its traffic was to be moved, or is being moved: only an approver may.
    NeedsApprover,
    /// Switch: the caller started it, and another one has to approve.
    NeedsAnother,
    /// There is no such deployment, or not for the caller.
    Unknown,
}

impl Db {
    /// Wishes. With a key, the wish and `answer` are kept together, or neither.
    pub async fn wish(
        &self,
        wish: Wish,
        id: &str,
        key: Option<&IdempotencyKey>,
        by: &Caller,
        answer: &Value,
    ) -> Result<Once<Wished>, DbError> {
        let key = self.keyed(key).await?;
        let mut tx = self.pool.begin().await?;
        if let Some(names) = by.scope().sql()
            && !deployments::is_in_scope(&mut tx, id, names).await?
        {
            return Ok(Once::Now(Wished::Unknown));
        }
        if let Some(known) = reserve(&mut tx, key.as_ref()).await? {
            return Ok(known);
        }
        let made = match wish {
            Wish::Switch { by_another } => switch(&mut tx, id, by_another, by).await?,
            Wish::Cancel => cancel(&mut tx, id, by).await?,
            Wish::Retry { step } => retry(&mut tx, id, step, by).await?,
        };
        if made == Wished::Accepted {
            keep(&mut tx, key.as_ref(), answer).await?;
            let (repository, details) = (None, json!({}));
            let entry = Entry { by, action: wish.action(), target: Some(id), repository, refused: None, details };
            audit::record(&mut tx, &entry).await?;
            tx.commit().await?;
        }
        Ok(Once::Now(made))
    }
}

async fn switch(connection: &mut PgConnection, id: &str, by_another: bool, by: &Caller) -> Result<Wished, DbError> {
    if by_another {
        // What a schedule started, whoever answers for the schedule did: nobody approves their own by way of the clock.
        let starter = sqlx::query_scalar!(
            "SELECT coalesce(s.made_by, d.started_by)
             FROM deployments d
             LEFT JOIN schedule_runs r ON r.deployment_id = d.id
             LEFT JOIN schedules s ON s.id = r.schedule_id AND d.started_by = 'schedule:' || s.id
             WHERE d.id = $1",
            id
        );
        let starter = starter.fetch_optional(&mut *connection).await?.flatten();
        if starter.is_some_and(|starter| by.principal.known_subject() == Some(&starter)) {
            return Ok(Wished::NeedsAnother);
        }
    }
    let wished = sqlx::query!(
        "UPDATE deployments SET switch_requested_at = coalesce(switch_requested_at, now())
         WHERE id = $1 AND status = 'DEPLOYMENT_READY' AND cancel_requested_at IS NULL",
        id
    )
    .execute(&mut *connection)
    .await?;
    accepted_or_not(connection, id, wished.rows_affected()).await
}

/// Once the switch is asked for, its end is a rollback.
async fn cancel(connection: &mut PgConnection, id: &str, by: &Caller) -> Result<Wished, DbError> {
    let wished = sqlx::query!(
        "UPDATE deployments SET cancel_requested_at = coalesce(cancel_requested_at, now())
         WHERE id = $1 AND status IN ('RUNNING', 'DEPLOYMENT_READY') AND ($2 OR switch_requested_at IS NULL)",
        id,
        by.principal.role >= Role::Approver
    )
    .execute(&mut *connection)
    .await?;
    Ok(match accepted_or_not(connection, id, wished.rows_affected()).await? {
        Wished::NotNow(Status::Running | Status::DeploymentReady) => Wished::NeedsApprover,
        wished => wished,
    })
}

/// Another attempt, of which nobody has done anything yet. What the new one may not mistake for its own (execution, switch, urls) moves
/// out of its columns: into the state of its first step, which decides what of it still lives, and into `deployment_attempts`.
async fn retry(connection: &mut PgConnection, id: &str, step: &str, by: &Caller) -> Result<Wished, DbError> {
    let target = sqlx::query!(
        "SELECT account_id, region, ecr_repository, github_connection_id, aws_connection_id FROM deployments WHERE id = $1",
        id
    )
    .fetch_optional(&mut *connection)
    .await?;
    let Some(target) = target else { return Ok(Wished::Unknown) };
    turns::lock_target(connection, &target.account_id, &target.region, &target.ecr_repository).await?;
    let holder = sqlx::query_scalar!(
        "SELECT id FROM deployments
         WHERE account_id = $1 AND region = $2 AND ecr_repository = $3 AND status IN ('RUNNING', 'DEPLOYMENT_READY') AND id <> $4
         ORDER BY queued, queued_at, id LIMIT 1",
        target.account_id,
        target.region,
        target.ecr_repository,
        id
    )
    .fetch_optional(&mut *connection)
    .await?;
    match status(connection, id).await? {
        Some(Status::Failed) => {}
        Some(other) => return Ok(Wished::NotNow(other)),
        None => return Ok(Wished::Unknown),
    }
    if by.principal.role < Role::Approver && was_to_be_switched(connection, id).await? {
        return Ok(Wished::NeedsApprover);
    }
    if let Some(holder) = holder {
        return Ok(Wished::TargetTaken(holder));
    }
    let (github, aws) = (&target.github_connection_id, &target.aws_connection_id);
    match create::unusable_connection(connection, github, aws).await? {
        Some(create::Unusable::Removed(id)) => return Ok(Wished::ConnectionRemoved(id)),
        Some(create::Unusable::Outdated(id)) => return Ok(Wished::ConnectionOutdated(id)),
        None => {}
    }
    let begun = sqlx::query!(
        "WITH ended AS (
             SELECT * FROM deployments WHERE id = $1 AND status = 'FAILED' FOR UPDATE
         ), kept AS (
             INSERT INTO deployment_attempts (deployment_id, attempt, started_at, ended_at, step, error_code, error_message, commit_sha,
                                              image_digest, execution_arn, code_deploy_deployment_id, switch_requested_at,
                                              cancel_requested_at, superseded_by, interrupted_step, started_by, queued_at,
                                              turn_at, blue_green_started_at, ready_at)
             SELECT id, attempt, attempt_started_at, completed_at, step, error_code, error_message, commit_sha, image_digest,
                    execution_arn, code_deploy_deployment_id, switch_requested_at, cancel_requested_at, superseded_by,
                    CASE WHEN step = 'cancel' THEN step_state ->> 'during' END, started_by, queued_at, turn_at,
                    blue_green_started_at, ready_at
             FROM ended
         )
         UPDATE deployments d SET
             attempt = d.attempt + 1, status = 'RUNNING', error_code = NULL, error_message = NULL, completed_at = NULL,
             attempt_started_at = now(), step_started_at = now(), run_started_at = NULL, retried_at = now(), ready_at = NULL,
             blue_green_started_at = NULL,
             queued = false, queued_at = NULL, turn_at = NULL, superseded_by = NULL,
             switch_requested_at = NULL, cancel_requested_at = NULL,
             replica_id = NULL, version = d.version + 1, claims_without_progress = 0, waiting_for = NULL,
             step = $2, started_by = $3,
             -- An attempt that failed while it was finding out where to go on begins with what it was given.
             step_state = CASE WHEN d.step = $2 THEN d.step_state ELSE jsonb_build_object(
                 'step', d.step, 'state', d.step_state,
                 'past', jsonb_strip_nulls(jsonb_build_object(
                     'executionArn', d.execution_arn, 'lastHistoryEventId', d.last_history_event_id,
                     'pollingState', d.polling_state, 'clusterName', d.cluster_name, 'serviceName', d.service_name,
                     'taskDefinition', d.task_definition, 'blueServiceArn', d.blue_service_arn,
                     'greenServiceArn', d.green_service_arn, 'blueTargetGroupArn', d.blue_target_group_arn,
                     'greenTargetGroupArn', d.green_target_group_arn, 'blueUrl', d.blue_url, 'greenUrl', d.green_url,
                     'codeDeployDeploymentId', d.code_deploy_deployment_id,
                     'codeDeployApplicationName', d.code_deploy_application_name))) END,
             execution_arn = NULL, last_history_event_id = 0, polling_state = NULL, cluster_name = NULL, service_name = NULL,
             task_definition = NULL, blue_service_arn = NULL, green_service_arn = NULL, blue_target_group_arn = NULL,
             green_target_group_arn = NULL, blue_url = NULL, green_url = NULL, code_deploy_deployment_id = NULL,
             code_deploy_application_name = NULL, blue_latency_ms = NULL, green_latency_ms = NULL, blue_error_rate = NULL,
             green_error_rate = NULL, final_service = NULL
         FROM ended WHERE d.id = ended.id",
        id,
        step,
        by.principal.known_subject()
    )
    .execute(&mut *connection)
    .await?;
    accepted_or_not(connection, id, begun.rows_affected()).await
}

/// Whether an attempt of it was to be switched: another one may go on with that.
async fn was_to_be_switched(connection: &mut PgConnection, id: &str) -> Result<bool, DbError> {
    let switched = sqlx::query_scalar!(
        "SELECT switch_requested_at IS NOT NULL OR EXISTS (
                SELECT FROM deployment_attempts a WHERE a.deployment_id = d.id AND a.switch_requested_at IS NOT NULL) AS \"any!\"
         FROM deployments d WHERE id = $1",
        id
    );
    Ok(switched.fetch_optional(connection).await?.unwrap_or(false))
}

async fn accepted_or_not(connection: &mut PgConnection, id: &str, rows: u64) -> Result<Wished, DbError> {
    if rows == 1 {
        return Ok(Wished::Accepted);
    }
    Ok(status(connection, id).await?.map_or(Wished::Unknown, Wished::NotNow))
}

async fn status(connection: &mut PgConnection, id: &str) -> Result<Option<Status>, DbError> {
    let status =
        sqlx::query_scalar!("SELECT status FROM deployments WHERE id = $1", id).fetch_optional(connection).await?;
    status.map(|status| status.parse().map_err(DbError::Corrupt)).transpose()
}
