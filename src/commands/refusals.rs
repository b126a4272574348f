//! The record of refused changes, which keeps no transaction of a command.

use crate::db::{Db, DbError};
use crate::domain::refusals::Tally;

/// Records refusals in the audit log, one row for each tally.
///
/// # Errors
/// The database cannot be written; no row was added.
pub async fn record_refusals(db: &Db, tallies: &[Tally]) -> Result<(), DbError> {
    db.record_refusals(tallies).await
}
