//! Retime: computes next times again with a newer edition of the time zone database. A government changes a zone's rules at short notice; a next time
//! that was computed before may be months away, and an hour off.
//!
//! While replicas have different editions, the newest one prevails: each replaces what older ones have computed. Due times are left to their run.

use chrono::{DateTime, Utc};

use super::run_due::parse;
use crate::db::schedules::retime;
use crate::db::{Db, DbError};

/// A schedule whose next time has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetimedSchedule {
    /// Id of the schedule.
    pub schedule: String,
    /// Next time by the older edition.
    pub before: DateTime<Utc>,
    /// Next time by the newer one; none at the end of the calendar.
    pub next: Option<DateTime<Utc>>,
}

/// Computes the next times that are older than `edition` again, with this program's database. Returns those that have changed.
///
/// # Errors
/// The database cannot be used; pages of schedules before the failure are done.
pub async fn retime_outdated(db: &Db, edition: &str) -> Result<Vec<RetimedSchedule>, DbError> {
    let mut changed = Vec::new();
    loop {
        let mut tx = db.begin().await?;
        let outdated = retime::lock_outdated(&mut tx, edition).await?;
        if outdated.is_empty() {
            return Ok(changed);
        }
        for row in outdated {
            let next = match parse(&row.cron, &row.time_zone) {
                Ok((cron, zone)) => cron.next_after(row.now, zone),
                // Its run at the old time records the reason.
                Err(_) => Some(row.next),
            };
            retime::retime(&mut tx, &row.id, next, edition).await?;
            if next != Some(row.next) {
                changed.push(RetimedSchedule { schedule: row.id, before: row.next, next });
            }
        }
        tx.commit().await?;
    }
}
