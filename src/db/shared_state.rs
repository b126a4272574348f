//! The state that each replica polls every ten seconds, in one statement; among it the longest stuck deployment: an active one that no replica
//! advances.

use std::time::Duration;

use super::log_filter::SetFilter;
use super::{Db, DbError};
use crate::domain::deployment::Unfinished;

/// Replaces a missing time limit: ten years are as good as for ever, and a longer interval exceeds Postgres' calendar.
const MAX_LIMIT: Duration = Duration::from_hours(10 * 365 * 24);

/// State that all replicas share.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a separate finding")]
pub struct SharedState {
    /// Number of unfinished deployments, by activity.
    pub unfinished: Unfinished,
    /// The log filter in force; none when each replica uses its configured filter.
    pub log_filter: Option<SetFilter>,
    /// The deployment that has been stuck for longest.
    pub stuck: Option<StuckDeployment>,
    /// Sequences that were behind the rows of their tables and have been advanced.
    pub advanced_sequences: Vec<String>,
    /// A queued deployment has a free target.
    pub queue_may_start: bool,
    /// A ready deployment has a policy that switches it.
    pub automatic_switches: bool,
    /// A maintenance run is requested or in progress.
    pub maintenance: bool,
    /// A schedule has a next time.
    pub schedules: bool,
    /// A receiver is enabled.
    pub receivers: bool,
    /// Number of deployments that AWS can still change without a caller: ready ones, and switched ones whose blue lives.
    pub watched: i64,
    /// Time until the next end of a freeze, by the database's clock; none without one.
    pub freeze_ends_in: Option<Duration>,
}

/// The deployment that has been stuck for longest.
#[derive(Clone, Debug, PartialEq)]
pub struct StuckDeployment {
    /// Deployment id, with the prefix `dep_`.
    pub id: String,
    /// The step that is not advanced.
    pub step: String,
    /// The live replica that owns it and does not advance it; none when it has no live owner.
    pub replica: Option<String>,
    /// Time since it became stuck (database clock).
    pub since: Duration,
}

impl Db {
    /// Reads the shared state. `heavy` names the steps that need a build permit, `limits` has the time limit of each step, and `advance_sequences`
    /// also advances sequences that are behind their tables: the only part that may write.
    ///
    /// Queued and other deployments are counted separately, because each half has a dedicated index. A deployment without a live owner is stuck from
    /// when it could have been claimed; an owned one, from when its step exceeded its time limit.
    pub async fn poll_shared_state(
        &self,
        heavy: &[String],
        limits: &[(String, Duration)],
        advance_sequences: bool,
    ) -> Result<SharedState, DbError> {
        let (steps, seconds): (Vec<String>, Vec<f64>) =
            limits.iter().map(|(step, limit)| (step.clone(), limit.min(&MAX_LIMIT).as_secs_f64())).unzip();
        let row = sqlx::query_file!("src/db/shared_state.sql", heavy, &steps, &seconds, advance_sequences)
            .fetch_one(&self.pool)
            .await?;
        let unfinished = Unfinished {
            running: row.running,
            queued: row.queued,
            ready: row.ready,
            waiting_for_build: row.waiting_for_build,
            awaiting_renewal: row.awaiting_renewal,
        };
        let set = match (row.filter, row.set_by, row.set_at, row.until, row.filter_seconds) {
            (Some(filter), Some(set_by), Some(set_at), Some(until), Some(seconds)) => {
                Some(SetFilter { filter, set_by, set_at, until, seconds })
            }
            _ => None,
        };
        let stuck = match (row.stuck_id, row.stuck_step, row.stuck_seconds) {
            (Some(id), Some(step), Some(seconds)) => {
                let since = Duration::from_secs_f64(seconds.max(0.0));
                Some(StuckDeployment { id, step, replica: row.stuck_replica, since })
            }
            _ => None,
        };
        Ok(SharedState {
            unfinished,
            log_filter: self.unless_expired(set).await,
            stuck,
            advanced_sequences: row.advanced_sequences,
            queue_may_start: row.queue_may_start,
            automatic_switches: row.automatic_switches,
            maintenance: row.maintenance,
            schedules: row.schedules,
            receivers: row.receivers,
            watched: row.watched,
            freeze_ends_in: row.freeze_seconds.map(|seconds| Duration::from_secs_f64(seconds.max(0.0))),
        })
    }
}
