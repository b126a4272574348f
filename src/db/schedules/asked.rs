//! A schedule that somebody runs out of turn: their own start, with what the schedule says.

use serde_json::{Value, json};

use super::target::{Starter, Target, Unusable, new_deployment};
use super::{Action, Once, keep, record, reserve};
use crate::db::create::{self, Made, Refusal};
use crate::db::idempotency::IdempotencyKey;
use crate::db::{Db, DbError};
use crate::domain::principal::Caller;

/// A schedule that somebody ran out of turn.
#[derive(Clone, Debug, PartialEq)]
pub enum Started {
    /// Now.
    Now {
        /// The answer.
        answer: Value,
        /// `dep_…`
        deployment: String,
        /// Those that were asked to end in its favour.
        superseded: Vec<String>,
    },
    /// Before, with the same key: the answer of then.
    Repeated(Value),
    /// The key came with another body.
    KeyReused,
    /// Nothing was started.
    Refused(Refused),
    /// There is no such schedule for the caller.
    Unknown,
}

/// Why somebody's own start was refused.
#[derive(Clone, Debug, PartialEq)]
pub enum Refused {
    /// A connection cannot be used.
    Connection(Unusable),
    /// The deployment cannot be, or not now; the name of its ECR repository.
    Deployment(Refusal, String),
}

impl Db {
    /// Starts what a schedule would, for somebody who asks; with `answer` (made from the deployment) kept for the key. When it is due next
    /// stays as it is.
    pub async fn run_schedule(
        &self,
        id: &str,
        starter: Starter<'_>,
        key: Option<&IdempotencyKey>,
        by: &Caller,
        answer: impl FnOnce(&str, &Made) -> Value,
    ) -> Result<Started, DbError> {
        let key = self.keyed(key).await?;
        let mut tx = self.pool.begin().await?;
        match reserve::<()>(&mut tx, key.as_ref()).await? {
            Some(Once::Repeated(answer)) => return Ok(Started::Repeated(answer)),
            Some(Once::KeyReused) => return Ok(Started::KeyReused),
            Some(Once::Now(())) | None => {}
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
        let Some(target) = target else { return Ok(Started::Unknown) };
        let new = match new_deployment(&mut tx, starter, target, by).await? {
            Ok(new) => new,
            Err(unusable) => return Ok(Started::Refused(Refused::Connection(unusable))),
        };
        let made = match create::create(&mut tx, &new, by).await? {
            Ok(made) => made,
            Err(refusal) => return Ok(Started::Refused(Refused::Deployment(refusal, new.ecr_repository))),
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
        keep(&mut tx, key.as_ref(), &answer).await?;
        tx.commit().await?;
        Ok(Started::Now { answer, deployment: new.id, superseded: made.superseded })
    }
}
