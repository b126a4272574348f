//! Deployments that AWS can still change without a caller, and the looks that the watch requests. Each function is one statement.

use std::time::Duration;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Db, DbError};
use crate::domain::deployment::Status;
use crate::domain::rollout::RolloutId;

/// Name of the lease that gives one replica the turn to watch.
const TURN: &str = "watch of deployments at AWS";

/// Time after the last status event during which those of its account and region count as arriving.
const EVENTS_ARRIVE: Duration = Duration::from_mins(15);

/// A deployment at rest, as far as the watch compares it.
#[derive(Clone, Debug, PartialEq)]
pub struct WatchedDeployment {
    /// Deployment id, with the prefix `dep_`.
    pub id: String,
    /// Connection to the account of the rollout.
    pub aws_connection_id: String,
    /// Region of the rollout.
    pub region: String,
    /// `DEPLOYMENT_READY` or COMPLETED.
    pub status: Status,
    /// Rollout that may change without a caller.
    pub rollout: RolloutId,
    /// Hook of ECS whose wait the row shows; none if it was not seen waiting, or CodeDeploy waits.
    pub pause_hook: Option<String>,
    /// When AWS ends the wait for the switch; `None` if it was not seen waiting.
    pub ready_until: Option<DateTime<Utc>>,
    /// AWS refused the connection's credentials when they were used last.
    pub awaits_renewal: bool,
}

impl Db {
    /// Takes the next turn to watch, and returns its number; none while another replica's turn lasts. A turn is not renewed and not released: it ends after
    /// `length`.
    pub async fn take_watch_turn(&self, length: Duration) -> Result<Option<i64>, DbError> {
        let taken = sqlx::query_scalar!(
            "INSERT INTO leases AS l (name, holder, expires_at)
             VALUES ($1, $2, clock_timestamp() + make_interval(secs => $3))
             ON CONFLICT (name) DO UPDATE
             SET holder = EXCLUDED.holder, token = l.token + 1, taken_at = clock_timestamp(), expires_at = EXCLUDED.expires_at
             WHERE l.expires_at <= clock_timestamp()
             RETURNING token",
            TURN,
            Uuid::new_v4(),
            length.as_secs_f64()
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(taken)
    }

    /// Returns the next deployments to compare with AWS, by connection and id after `after`; none at the end. Deployments with a request or an owner
    /// are left out: their step asks AWS itself. Rollouts of ECS whose status events arrive have a place in one of three turns; `turn` is the number of this one.
    pub async fn watched_page(
        &self,
        turn: i64,
        after: &(String, String),
        limit: i64,
    ) -> Result<Vec<WatchedDeployment>, DbError> {
        let rows = sqlx::query!(
            "SELECT id, aws_connection_id, region, status, coalesce(facts ->> 'service_deployment_arn', facts ->> 'code_deploy_deployment_id') AS \"rollout!\",
                    step_state #>> '{pause,hook}' AS pause_hook,
                    (facts ->> 'ready_until')::timestamptz AS ready_until, facts @> '{\"awaits_renewal\": true}' AS \"awaits_renewal!\"
             FROM deployments d
             WHERE watched AND NOT active AND (aws_connection_id, id) > ($1, $2) AND facts ?| '{service_deployment_arn,code_deploy_deployment_id}'
               -- The first look and the end of the wait are not left to an event that may be lost.
               AND ($4::bigint % 3 = abs(hashtext(id)::bigint) % 3
                    OR NOT facts ? 'service_deployment_arn'
                    OR (status = 'DEPLOYMENT_READY' AND coalesce((facts ->> 'ready_until')::timestamptz, '-infinity') < now())
                    OR facts @> '{\"awaits_renewal\": true}'
                    OR NOT EXISTS (SELECT FROM status_event_regions r
                                   WHERE (r.account_id, r.region) = (d.account_id, d.region) AND r.received_at > now() - make_interval(secs => $5)))
             ORDER BY aws_connection_id, id LIMIT $3",
            after.0,
            after.1,
            limit,
            turn,
            EVENTS_ARRIVE.as_secs_f64()
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| {
                Ok(WatchedDeployment {
                    id: row.id,
                    aws_connection_id: row.aws_connection_id,
                    region: row.region,
                    status: row.status.parse().map_err(DbError::corrupt)?,
                    rollout: row.rollout.into(),
                    pause_hook: row.pause_hook,
                    ready_until: row.ready_until,
                    awaits_renewal: row.awaits_renewal,
                })
            })
            .collect()
    }

    /// Requests a look at those `ids` that are still watched and at rest; returns their number.
    pub async fn request_looks(&self, ids: &[String]) -> Result<u64, DbError> {
        let requested = sqlx::query!(
            "UPDATE deployments SET look_requested_at = clock_timestamp()
             WHERE id IN (SELECT id FROM deployments WHERE id = ANY ($1) AND watched AND NOT active ORDER BY id FOR NO KEY UPDATE)",
            ids
        )
        .execute(&self.pool)
        .await?;
        Ok(requested.rows_affected())
    }

    /// Ends the watch of switched deployments that can no longer be read, because their connection was removed, or that AWS cannot change any more,
    /// because they ended more than `longest` ago; returns their number.
    pub async fn end_overdue_watches(&self, longest: Duration) -> Result<u64, DbError> {
        let ended = sqlx::query!(
            "UPDATE deployments SET watched = false
             WHERE id IN (SELECT d.id FROM deployments d JOIN aws_connections c ON c.id = d.aws_connection_id
                          WHERE d.watched AND d.status = 'COMPLETED' AND NOT d.active
                            AND (c.removed_at IS NOT NULL OR d.completed_at < now() - make_interval(secs => $1))
                          ORDER BY d.id FOR NO KEY UPDATE OF d)",
            longest.as_secs_f64()
        )
        .execute(&self.pool)
        .await?;
        Ok(ended.rows_affected())
    }
}
