//! Stop: ends schedules whose permission has ended. Each gets a run with the reason, and stays stopped until a caller takes it over.

use serde_json::json;

use super::record;
use crate::db::schedules::permission::{self, ScheduleSelector};
use crate::db::{Db, DbError, PgConnection};
use crate::domain::audit::Action;
use crate::domain::permission::{PermissionEnd, SignIn};
use crate::domain::principal::Caller;

/// A schedule that starts nothing more until a caller takes it over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoppedSchedule {
    /// Id of the schedule.
    pub schedule: String,
    /// Reason for which it stopped.
    pub ended: PermissionEnd,
}

/// Stops schedules whose permission has ended, whenever they are due next.
///
/// # Errors
/// The database cannot be used; schedules before the failure are stopped.
pub async fn stop_without_permission(db: &Db, sign_in: &SignIn) -> Result<Vec<StoppedSchedule>, DbError> {
    let (mut stopped, mut after) = (Vec::new(), String::new());
    loop {
        let rows = db.active_permissions(&after).await?;
        let Some(last) = rows.last() else { return Ok(stopped) };
        after.clone_from(&last.id);
        for row in rows {
            let id = row.id.clone();
            match row.held() {
                Ok(held) if sign_in.ended(&held).is_some() => stopped.extend(stop_ended(db, &id, sign_in).await?),
                Ok(_) => {}
                // Such a schedule is not run either, and its next run records the error.
                Err(error) => tracing::warn!(%error, schedule = id, "schedule permission unreadable, not checked"),
            }
        }
    }
}

/// Checks again with the row locked: a caller may have taken the schedule over meanwhile, or another replica may be stopping it.
async fn stop_ended(db: &Db, id: &str, sign_in: &SignIn) -> Result<Option<StoppedSchedule>, DbError> {
    let mut tx = db.begin().await?;
    if !permission::lock_active(&mut tx, id).await? {
        return Ok(None);
    }
    let held = permission::held(&mut tx, id).await?;
    let Some(ended) = sign_in.ended(&held) else { return Ok(None) };
    let by = Caller::schedule(id, held.role, held.scope);
    stop(&mut tx, ScheduleSelector::Id(id), &ended, &by).await?;
    tx.commit().await?;
    Ok(Some(StoppedSchedule { schedule: id.to_owned(), ended }))
}

/// Stops schedules that have not stopped yet, with an entry in the audit log for each, and returns their ids.
pub(in crate::commands) async fn stop(
    tx: &mut PgConnection,
    which: ScheduleSelector<'_>,
    ended: &PermissionEnd,
    by: &Caller,
) -> Result<Vec<String>, DbError> {
    let rows = permission::stop(tx, which, ended).await?;
    for row in &rows {
        let details = json!({"code": ended.code(), "reason": ended.message().to_string()});
        record(tx, by, Action::StopSchedule, &row.id, (&row.owner, &row.repo), details).await?;
    }
    Ok(rows.into_iter().map(|row| row.id).collect())
}
