//! The log filter of all replicas, set for a limited time. Log lines concern all repositories, so the caller needs all of them.

use std::time::Duration;

use serde_json::{Value, json};

use super::access::{require_all_repositories, require_role};
use super::error::CommandError;
use crate::db::audit::{self, AuditRecord};
use crate::db::log_filter::{self, SetFilter};
use crate::db::{Db, DbError, PgConnection};
use crate::domain::audit::Action;
use crate::domain::log_filter::LogFilter;
use crate::domain::principal::{Caller, Role};

/// Sets `filter` on all replicas for `time`, in place of the previous one.
///
/// # Errors
/// The caller is not an admin of all repositories.
pub async fn set_log_filter(
    db: &Db,
    filter: &LogFilter,
    time: Duration,
    by: &Caller,
) -> Result<SetFilter, CommandError> {
    require_role(by, Role::Admin)?;
    require_all_repositories(by)?;
    let mut tx = db.begin().await?;
    let set = log_filter::set(&mut tx, filter, time, &by.principal.subject).await?;
    let details = json!({"filter": filter.as_str(), "forSeconds": time.as_secs()});
    record(&mut tx, by, Action::SetLogFilter, details).await?;
    tx.commit().await?;
    Ok(set)
}

/// Restores the configured filter of each replica.
///
/// # Errors
/// The caller is not an admin of all repositories.
pub async fn reset_log_filter(db: &Db, by: &Caller) -> Result<(), CommandError> {
    require_role(by, Role::Admin)?;
    require_all_repositories(by)?;
    let mut tx = db.begin().await?;
    log_filter::reset(&mut tx).await?;
    record(&mut tx, by, Action::ResetLogFilter, json!({})).await?;
    Ok(tx.commit().await?)
}

async fn record(tx: &mut PgConnection, by: &Caller, action: Action, details: Value) -> Result<(), DbError> {
    audit::record(tx, &AuditRecord { by, action, target: None, repository: None, refused: None, details })
        .await
        .map(drop)
}
