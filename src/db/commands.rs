//! Commands on a deployment: switch, cancel, retry. A command sets a column, or for a retry starts the row's next attempt; it causes no external
//! effect.

use serde_json::{Value, json};
use sqlx::PgConnection;

use super::audit::{self, AuditRecord};
use super::idempotency::{IdempotencyKey, Idempotent, reserve, store_answer};
use super::{Db, DbError, create, deployments, queue};
use crate::domain::audit::Action;
use crate::domain::deployment::Status;
use crate::domain::principal::{Caller, Role};

/// Change that a caller requests; the driver carries it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeploymentCommand {
    /// Moves the traffic to green.
    Switch {
        /// Requires separation of duties: the caller that started the attempt may not approve its switch.
        four_eyes: bool,
    },
    /// Ends the deployment; after the switch was requested, this rolls the traffic back.
    Cancel,
    /// Starts another attempt of a failed deployment, at this step.
    Retry {
        /// Stored name of the step that decides where the new attempt resumes.
        step: &'static str,
    },
}

impl DeploymentCommand {
    fn action(self) -> Action {
        match self {
            Self::Switch { .. } => Action::Switch,
            Self::Cancel => Action::Cancel,
            Self::Retry { .. } => Action::Retry,
        }
    }
}

/// Acceptance of a command, or the reason for which nothing was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandOutcome {
    /// The command is stored, by this call or (switch and cancel) by an earlier one.
    Accepted,
    /// The deployment's status does not allow the command.
    WrongStatus(Status),
    /// Retry: this connection was removed.
    ConnectionRemoved(String),
    /// Retry: this role has to be connected again first.
    ConnectionOutdated(String),
    /// Retry: this deployment holds the target, or waits for it.
    TargetTaken(String),
    /// The traffic was to be moved, or is being moved: the command needs the role approver.
    NeedsApprover,
    /// Switch: the caller started the attempt, and another person has to approve it.
    SelfApproval,
    /// The deployment does not exist, or not in the caller's scope.
    NotFound,
}

impl Db {
    /// Stores a command. With a key, stores the command and `answer` together, or neither.
    pub async fn run_command(
        &self,
        command: DeploymentCommand,
        id: &str,
        key: Option<&IdempotencyKey>,
        by: &Caller,
        answer: &Value,
    ) -> Result<Idempotent<CommandOutcome>, DbError> {
        let key = self.keyed(key).await?;
        let mut tx = self.pool.begin().await?;
        if let Some(names) = by.scope().sql()
            && !deployments::is_in_scope(&mut tx, id, names).await?
        {
            return Ok(Idempotent::Fresh(CommandOutcome::NotFound));
        }
        if let Some(known) = reserve(&mut tx, key.as_ref()).await? {
            return Ok(known);
        }
        let outcome = match command {
            DeploymentCommand::Switch { four_eyes } => switch(&mut tx, id, four_eyes, by).await?,
            DeploymentCommand::Cancel => cancel(&mut tx, id, by).await?,
            DeploymentCommand::Retry { step } => retry(&mut tx, id, step, by).await?,
        };
        if outcome == CommandOutcome::Accepted {
            store_answer(&mut tx, key.as_ref(), answer).await?;
            let (repository, details) = (None, json!({}));
            let entry =
                AuditRecord { by, action: command.action(), target: Some(id), repository, refused: None, details };
            audit::record(&mut tx, &entry).await?;
            tx.commit().await?;
        }
        Ok(Idempotent::Fresh(outcome))
    }
}

async fn switch(
    connection: &mut PgConnection,
    id: &str,
    four_eyes: bool,
    by: &Caller,
) -> Result<CommandOutcome, DbError> {
    if four_eyes {
        // The owner of a schedule counts as the starter of its deployments: otherwise a schedule would let a caller approve their own deployment.
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
            return Ok(CommandOutcome::SelfApproval);
        }
    }
    let updated = sqlx::query!(
        "UPDATE deployments SET switch_requested_at = coalesce(switch_requested_at, now())
         WHERE id = $1 AND status = 'DEPLOYMENT_READY' AND cancel_requested_at IS NULL",
        id
    )
    .execute(&mut *connection)
    .await?;
    outcome_of(connection, id, updated.rows_affected()).await
}

/// Requests the cancellation. Once the switch was requested, cancelling is a rollback and needs the role approver.
async fn cancel(connection: &mut PgConnection, id: &str, by: &Caller) -> Result<CommandOutcome, DbError> {
    let updated = sqlx::query!(
        "UPDATE deployments SET cancel_requested_at = coalesce(cancel_requested_at, now())
         WHERE id = $1 AND status IN ('RUNNING', 'DEPLOYMENT_READY') AND ($2 OR switch_requested_at IS NULL)",
        id,
        by.principal.role >= Role::Approver
    )
    .execute(&mut *connection)
    .await?;
    Ok(match outcome_of(connection, id, updated.rows_affected()).await? {
        CommandOutcome::WrongStatus(Status::Running | Status::DeploymentReady) => CommandOutcome::NeedsApprover,
        outcome => outcome,
    })
}

/// Starts another attempt of a failed deployment whose target is free and whose connections can be used.
async fn retry(connection: &mut PgConnection, id: &str, step: &str, by: &Caller) -> Result<CommandOutcome, DbError> {
    if let Some(refused) = refuse_retry(connection, id, by).await? {
        return Ok(refused);
    }
    let begun = begin_attempt(connection, id, step, by).await?;
    outcome_of(connection, id, begun).await
}

/// Locks the deployment's target, and returns the reason for which a retry is refused.
async fn refuse_retry(connection: &mut PgConnection, id: &str, by: &Caller) -> Result<Option<CommandOutcome>, DbError> {
    let target = sqlx::query!(
        "SELECT account_id, region, ecr_repository, github_connection_id, aws_connection_id FROM deployments WHERE id = $1",
        id
    )
    .fetch_optional(&mut *connection)
    .await?;
    let Some(target) = target else { return Ok(Some(CommandOutcome::NotFound)) };
    queue::lock_target(connection, &target.account_id, &target.region, &target.ecr_repository).await?;
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
        Some(other) => return Ok(Some(CommandOutcome::WrongStatus(other))),
        None => return Ok(Some(CommandOutcome::NotFound)),
    }
    if by.principal.role < Role::Approver && was_to_be_switched(connection, id).await? {
        return Ok(Some(CommandOutcome::NeedsApprover));
    }
    if let Some(holder) = holder {
        return Ok(Some(CommandOutcome::TargetTaken(holder)));
    }
    let (github, aws) = (&target.github_connection_id, &target.aws_connection_id);
    Ok(create::unusable_connection(connection, github, aws).await?.map(|unusable| match unusable {
        create::UnusableConnection::Removed(id) => CommandOutcome::ConnectionRemoved(id),
        create::UnusableConnection::Outdated(id) => CommandOutcome::ConnectionOutdated(id),
    }))
}

/// Starts another attempt; returns the number of changed rows, 0 unless the deployment is FAILED.
///
/// Columns that the new attempt could mistake for its own (execution, switch, URLs) are moved: into the state of its first step, which decides what
/// of them is still alive, and into `deployment_attempts`.
async fn begin_attempt(connection: &mut PgConnection, id: &str, step: &str, by: &Caller) -> Result<u64, DbError> {
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
    Ok(begun.rows_affected())
}

/// Reports that a switch was requested in any attempt: another attempt may continue it.
async fn was_to_be_switched(connection: &mut PgConnection, id: &str) -> Result<bool, DbError> {
    let switched = sqlx::query_scalar!(
        "SELECT switch_requested_at IS NOT NULL OR EXISTS (
                SELECT FROM deployment_attempts a WHERE a.deployment_id = d.id AND a.switch_requested_at IS NOT NULL) AS \"any!\"
         FROM deployments d WHERE id = $1",
        id
    );
    Ok(switched.fetch_optional(connection).await?.unwrap_or(false))
}

async fn outcome_of(connection: &mut PgConnection, id: &str, rows: u64) -> Result<CommandOutcome, DbError> {
    if rows == 1 {
        return Ok(CommandOutcome::Accepted);
    }
    Ok(status(connection, id).await?.map_or(CommandOutcome::NotFound, CommandOutcome::WrongStatus))
}

async fn status(connection: &mut PgConnection, id: &str) -> Result<Option<Status>, DbError> {
    let status =
        sqlx::query_scalar!("SELECT status FROM deployments WHERE id = $1", id).fetch_optional(connection).await?;
    status.map(|status| status.parse().map_err(DbError::Corrupt)).transpose()
}
