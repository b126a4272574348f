//! Change: replaces a schedule's values and owner, or only pauses it.

use serde_json::json;

use super::error::ScheduleError;
use super::{details, next_time, record};
use crate::commands::access::require_role;
use crate::commands::error::CommandError;
use crate::db::schedules::{self, ScheduleSpec, ScheduleView};
use crate::db::{Db, DbError};
use crate::domain::audit::Action;
use crate::domain::principal::{Caller, Role, Scope};

/// The schedule that a change was made from.
#[derive(Clone, Copy, Debug)]
pub struct ScheduleEdit {
    /// Version that was read.
    pub version: i64,
    /// Recomputes the next time: the expression, its time zone or the pause changed, or it had none.
    pub retime: bool,
}

impl ScheduleEdit {
    /// Compares the row that was read with its new values.
    pub fn new(row: &ScheduleView, spec: &ScheduleSpec) -> Self {
        let (before, after) = (
            (row.cron.as_str(), row.time_zone.as_str(), row.paused),
            (spec.cron.as_str(), spec.zone.name(), spec.paused),
        );
        Self { version: row.version, retime: row.next_run_at.is_none() || before != after }
    }
}

/// Changes a schedule to `spec` if it is still at the version that was read. The caller becomes its owner, with whose permission it acts from now on.
///
/// # Errors
/// The caller's role is too low, or the schedule was changed meanwhile.
pub async fn change(
    db: &Db,
    id: &str,
    spec: &ScheduleSpec,
    edit: ScheduleEdit,
    by: &Caller,
) -> Result<ScheduleView, CommandError> {
    require_role(by, Role::Deployer)?;
    let mut tx = db.begin().await?;
    // Locked first: a start in progress ends before the next time is computed, so that this is a later one.
    if !schedules::lock_version(&mut tx, id, edit.version).await? {
        return Err(ScheduleError::Changed(id.to_owned()).into());
    }
    let next = next_time(spec, schedules::now(&mut tx).await?);
    schedules::update(&mut tx, id, spec, (edit.retime, next), by).await?;
    record(&mut tx, by, Action::ChangeSchedule, id, (&spec.owner, &spec.repo), details(spec)).await?;
    let changed = schedules::one(&mut tx, &Scope::All, id).await?;
    tx.commit().await?;
    Ok(changed.ok_or_else(|| missing(id))?)
}

/// Pauses a schedule until it is resumed. Its owner stays the same.
///
/// # Errors
/// The caller's role is too low, or its scope has no such schedule.
pub async fn pause(db: &Db, id: &str, by: &Caller) -> Result<ScheduleView, CommandError> {
    require_role(by, Role::Deployer)?;
    let mut tx = db.begin().await?;
    let Some((owner, repo)) = schedules::pause(&mut tx, id, by.scope()).await? else {
        return Err(ScheduleError::NotFound(id.to_owned()).into());
    };
    record(&mut tx, by, Action::ChangeSchedule, id, (&owner, &repo), json!({"paused": true})).await?;
    let paused = schedules::one(&mut tx, &Scope::All, id).await?;
    tx.commit().await?;
    Ok(paused.ok_or_else(|| missing(id))?)
}

fn missing(id: &str) -> DbError {
    DbError::Corrupt(format!("schedule {id} is missing right after its change"))
}
