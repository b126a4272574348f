//! Delete: ends a schedule. Its deployments and the records of its runs stay.

use serde_json::json;

use super::error::ScheduleError;
use super::record;
use crate::commands::access::require_role;
use crate::commands::error::CommandError;
use crate::db::{Db, schedules};
use crate::domain::audit::Action;
use crate::domain::principal::{Caller, Role};

/// Deletes a schedule.
///
/// # Errors
/// The caller's role is too low, or its scope has no such schedule.
pub async fn delete(db: &Db, id: &str, by: &Caller) -> Result<(), CommandError> {
    require_role(by, Role::Deployer)?;
    let mut tx = db.begin().await?;
    let Some((owner, repo)) = schedules::delete(&mut tx, id, by.scope()).await? else {
        return Err(ScheduleError::NotFound(id.to_owned()).into());
    };
    record(&mut tx, by, Action::DeleteSchedule, id, (&owner, &repo), json!({})).await?;
    Ok(tx.commit().await?)
}
