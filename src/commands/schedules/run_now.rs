//! Run now: a caller starts a deployment with a schedule's values, outside its times and with the caller's own permission.

use serde_json::{Value, json};

use super::error::ScheduleError;
use super::record;
use super::target::new_deployment;
use crate::commands::access::require_role;
use crate::commands::deploy::{self, CreatedDeployment, Starter};
use crate::commands::error::CommandError;
use crate::commands::idempotency::{Idempotent, KeyedTransaction};
use crate::db::Db;
use crate::db::idempotency::IdempotencyKey;
use crate::db::schedules::{runs, target};
use crate::domain::audit::Action;
use crate::domain::principal::{Caller, Role};

/// A deployment that was started on request.
#[derive(Clone, Debug, PartialEq)]
pub struct StartedRun {
    /// Answer to the request.
    pub answer: Value,
    /// Id of the new deployment.
    pub deployment: String,
    /// Deployments that were asked to end in its favour.
    pub superseded: Vec<String>,
}

/// Starts a deployment with a schedule's values, even while the schedule is paused, and stores `answer` (made from the deployment) under the key. The
/// schedule's next time stays unchanged.
///
/// # Errors
/// As [`deploy::deploy`], and when the caller's scope has no such schedule or may not use its connections.
pub async fn run_now(
    db: &Db,
    id: &str,
    starter: Starter<'_>,
    key: Option<&IdempotencyKey>,
    by: &Caller,
    answer: impl FnOnce(&str, &CreatedDeployment) -> Value,
) -> Result<Idempotent<StartedRun>, CommandError> {
    require_role(by, Role::Deployer)?;
    let mut tx = KeyedTransaction::begin(db, key).await?;
    if let Some(answer) = tx.repeated().await? {
        return Ok(Idempotent::Replayed(answer));
    }
    let Some(target) = target::lock(&mut tx, id, by.scope()).await? else {
        return Err(ScheduleError::NotFound(id.to_owned()).into());
    };
    let new = new_deployment(&mut tx, starter, target, by).await??;
    let created = deploy::create(&mut tx, &new, by).await?;
    let created = created.map_err(|refusal| refusal.into_error(&new.ecr_repository, by))?;
    runs::record_manual_run(&mut tx, id, &new.id, by.principal.known_subject()).await?;
    record(&mut tx, by, Action::RunSchedule, id, (&new.owner, &new.repo), json!({"deployment": new.id})).await?;
    let answer = answer(&new.id, &created);
    tx.commit(&answer).await?;
    Ok(Idempotent::Fresh(StartedRun { answer, deployment: new.id, superseded: created.superseded }))
}
