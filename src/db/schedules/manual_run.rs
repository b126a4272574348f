//! Manual runs of a schedule: a caller starts a deployment with the schedule's values, outside its times.

use serde_json::{Value, json};

use super::target::{Starter, Target, UnusableTarget, new_deployment};
use super::{Action, Idempotent, record, reserve, store_answer};
use crate::db::create::{self, CreateRefusal, CreatedDeployment};
use crate::db::idempotency::IdempotencyKey;
use crate::db::{Db, DbError};
use crate::domain::principal::Caller;

/// Outcome of a manual run.
#[derive(Clone, Debug, PartialEq)]
pub enum ManualRun {
    /// A deployment was started.
    Now {
        /// Answer to the request.
        answer: Value,
        /// Id of the new deployment.
        deployment: String,
        /// Deployments that were asked to end in its favour.
        superseded: Vec<String>,
    },
    /// The key was used before with the same body: the stored answer.
    Replayed(Value),
    /// The key was used with another body.
    KeyReused,
    /// No deployment was started.
    Refused(ManualRunRefusal),
    /// The schedule does not exist in the caller's scope.
    Unknown,
}

/// Reason for which a manual run was refused.
#[derive(Clone, Debug, PartialEq)]
pub enum ManualRunRefusal {
    /// A connection cannot be used.
    Connection(UnusableTarget),
    /// The deployment is not possible, or not now; with the name of its ECR repository.
    Deployment(CreateRefusal, String),
}

impl Db {
    /// Starts a deployment with a schedule's values for a caller, and stores `answer` (made from the deployment) under the key. The schedule's next
    /// time stays unchanged.
    pub async fn run_schedule(
        &self,
        id: &str,
        starter: Starter<'_>,
        key: Option<&IdempotencyKey>,
        by: &Caller,
        answer: impl FnOnce(&str, &CreatedDeployment) -> Value,
    ) -> Result<ManualRun, DbError> {
        let key = self.keyed(key).await?;
        let mut tx = self.pool.begin().await?;
        match reserve::<()>(&mut tx, key.as_ref()).await? {
            Some(Idempotent::Replayed(answer)) => return Ok(ManualRun::Replayed(answer)),
            Some(Idempotent::KeyReused) => return Ok(ManualRun::KeyReused),
            Some(Idempotent::Fresh(())) | None => {}
        }
        let target = sqlx::query_as!(
            Target,
            "SELECT id, github_connection_id, aws_connection_id, branch, build, reason, kind, concurrency FROM schedules
             WHERE id = $1 AND deleted_at IS NULL AND in_scope(owner, repo, $2) FOR UPDATE",
            id,
            by.scope().sql()
        )
        .fetch_optional(&mut *tx)
        .await?;
        let Some(target) = target else { return Ok(ManualRun::Unknown) };
        let new = match new_deployment(&mut tx, starter, target, by).await? {
            Ok(new) => new,
            Err(unusable) => return Ok(ManualRun::Refused(ManualRunRefusal::Connection(unusable))),
        };
        let made = match create::create(&mut tx, &new, by).await? {
            Ok(made) => made,
            Err(refusal) => return Ok(ManualRun::Refused(ManualRunRefusal::Deployment(refusal, new.ecr_repository))),
        };
        sqlx::query!(
            "INSERT INTO schedule_runs (schedule_id, due_at, result, deployment_id, asked_by)
             VALUES ($1, clock_timestamp(), 'started', $2, $3)",
            id,
            new.id,
            by.principal.known_subject()
        )
        .execute(&mut *tx)
        .await?;
        let details = json!({"deployment": new.id});
        record(&mut tx, by, Action::RunSchedule, id, (&new.owner, &new.repo), details).await?;
        let answer = answer(&new.id, &made);
        store_answer(&mut tx, key.as_ref(), &answer).await?;
        tx.commit().await?;
        Ok(ManualRun::Now { answer, deployment: new.id, superseded: made.superseded })
    }
}
