//! Create: stores a schedule, which the caller owns.

use serde_json::Value;

use super::{details, next_time, record};
use crate::commands::access::require_role;
use crate::commands::error::CommandError;
use crate::commands::idempotency::{Idempotent, KeyedTransaction};
use crate::db::idempotency::IdempotencyKey;
use crate::db::schedules::{self, ScheduleSpec, ScheduleView};
use crate::db::{Db, DbError};
use crate::domain::audit::Action;
use crate::domain::principal::{Caller, Role, Scope};

/// Creates a schedule, and stores `answer` (made from it) under the key. The caller becomes its owner.
///
/// # Errors
/// The caller's role is too low, or the key was used for another request.
pub async fn create(
    db: &Db,
    id: &str,
    spec: &ScheduleSpec,
    key: Option<&IdempotencyKey>,
    by: &Caller,
    answer: impl FnOnce(ScheduleView) -> Value,
) -> Result<Idempotent<Value>, CommandError> {
    require_role(by, Role::Deployer)?;
    let mut tx = KeyedTransaction::begin(db, key).await?;
    if let Some(answer) = tx.repeated().await? {
        return Ok(Idempotent::Replayed(answer));
    }
    let next = next_time(spec, schedules::now(&mut tx).await?);
    schedules::insert(&mut tx, id, spec, next, by).await?;
    record(&mut tx, by, Action::CreateSchedule, id, (&spec.owner, &spec.repo), details(spec)).await?;
    let made = schedules::one(&mut tx, &Scope::All, id).await?;
    let missing = || DbError::Corrupt(format!("schedule {id} is missing right after its insert"));
    let answer = answer(made.ok_or_else(missing)?);
    tx.commit(&answer).await?;
    Ok(Idempotent::Fresh(answer))
}
