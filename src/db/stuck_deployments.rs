//! Detection of stuck deployments: active ones that no replica advances.

use std::time::Duration;

use super::log_filter::SetFilter;
use super::{Db, DbError};
use crate::domain::deployment::Unfinished;

/// Replaces a missing time limit: ten years are as good as for ever, and a longer interval exceeds Postgres' calendar.
const MAX_LIMIT: Duration = Duration::from_hours(10 * 365 * 24);

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
    /// Returns the state that each replica polls, in one statement: the number of unfinished deployments by activity, and the log filter in force, if
    /// any. `heavy` names the steps that need a build permit. Queued and other deployments are counted separately, because each half has a dedicated
    /// index.
    pub async fn poll_shared_state(&self, heavy: &[String]) -> Result<(Unfinished, Option<SetFilter>), DbError> {
        let row = sqlx::query!(
            "SELECT counts.*, f.filter AS \"filter?\", f.set_by AS \"set_by?\", f.set_at AS \"set_at?\", f.until AS \"until?\",
                    extract(epoch FROM f.until - clock_timestamp())::float8 AS seconds
             FROM (SELECT count(*) FILTER (WHERE status = 'RUNNING' AND NOT queued) AS \"running!\", count(*) FILTER (WHERE queued) AS \"queued!\",
                          count(*) FILTER (WHERE status = 'DEPLOYMENT_READY' AND NOT queued) AS \"ready!\",
                          count(*) FILTER (WHERE active AND step = ANY ($1) AND replica_id IS NULL) AS \"waiting_for_build!\"
                   FROM (SELECT status, queued, active, step, replica_id FROM deployments
                         WHERE status IN ('RUNNING', 'DEPLOYMENT_READY') AND NOT queued
                         UNION ALL
                         SELECT status, queued, active, step, replica_id FROM deployments
                         WHERE status IN ('RUNNING', 'DEPLOYMENT_READY') AND queued) unfinished) counts
             LEFT JOIN log_filter f ON true",
            heavy
        )
        .fetch_one(&self.pool)
        .await?;
        let unfinished = Unfinished {
            running: row.running,
            queued: row.queued,
            ready: row.ready,
            waiting_for_build: row.waiting_for_build,
        };
        let set = match (row.filter, row.set_by, row.set_at, row.until, row.seconds) {
            (Some(filter), Some(set_by), Some(set_at), Some(until), Some(seconds)) => {
                Some(SetFilter { filter, set_by, set_at, until, seconds })
            }
            _ => None,
        };
        Ok((unfinished, self.unless_expired(set).await))
    }

    /// Finds the deployment that has been stuck for longest. A deployment without a live owner is stuck from when it could have been claimed; an
    /// owned one, from when its step exceeded its time limit. `limits` has the limit of each step.
    pub async fn longest_stuck_deployment(
        &self,
        limits: &[(String, Duration)],
    ) -> Result<Option<StuckDeployment>, DbError> {
        let (steps, seconds): (Vec<String>, Vec<f64>) =
            limits.iter().map(|(step, limit)| (step.clone(), limit.min(&MAX_LIMIT).as_secs_f64())).unzip();
        let row = sqlx::query!(
            "SELECT d.id, d.step, holder.name AS \"replica?\", extract(epoch FROM clock_timestamp() - due.at)::float8 AS \"seconds!\"
             FROM deployments d
             LEFT JOIN unnest($1::text[], $2::float8[]) AS limits (step, seconds) ON limits.step = d.step
             LEFT JOIN replicas r ON r.id = d.replica_id
             LEFT JOIN replicas holder ON holder.id = r.id
                   AND r.heartbeat_at + r.lease_ms * interval '1 millisecond' > clock_timestamp()
             CROSS JOIN LATERAL (SELECT CASE WHEN holder.id IS NOT NULL
                 THEN d.step_started_at + coalesce(limits.seconds, 0) * interval '1 second'
                 ELSE greatest(d.step_started_at, d.switch_requested_at, d.cancel_requested_at,
                               r.heartbeat_at + r.lease_ms * interval '1 millisecond',
                               (SELECT max(ended_at) FROM step_runs s WHERE s.deployment_id = d.id)) END AS at) due
             WHERE d.active AND due.at < clock_timestamp()
             ORDER BY due.at LIMIT 1",
            &steps,
            &seconds
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.map(|row| StuckDeployment {
            id: row.id,
            step: row.step,
            replica: row.replica,
            since: Duration::from_secs_f64(row.seconds.max(0.0)),
        }))
    }
}
