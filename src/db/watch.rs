//! Deployments that AWS can still change without a caller, and the looks that the watch requests. Each function is one statement.

use std::time::Duration;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Db, DbError};
use crate::domain::deployment::Status;
use crate::domain::rollout::RolloutId;

/// Name of the lease that gives one replica the turn to watch.
const TURN: &str = "watch of deployments at AWS";

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
    /// Takes the next turn to watch; false while another replica's turn lasts. A turn is not renewed and not released: it ends after `length`.
    pub async fn take_watch_turn(&self, length: Duration) -> Result<bool, DbError> {
        let taken = sqlx::query!(
            "INSERT INTO leases AS l (name, holder, expires_at)
             VALUES ($1, $2, clock_timestamp() + make_interval(secs => $3))
             ON CONFLICT (name) DO UPDATE
             SET holder = EXCLUDED.holder, token = l.token + 1, taken_at = clock_timestamp(), expires_at = EXCLUDED.expires_at
             WHERE l.expires_at <= clock_timestamp()",
            TURN,
            Uuid::new_v4(),
            length.as_secs_f64()
        )
        .execute(&self.pool)
        .await?;
        Ok(taken.rows_affected() == 1)
    }

    /// Returns the next deployments to compare with AWS, by connection and id after `after`; none at the end. Deployments with a request or an owner
    /// are left out: their step asks AWS itself.
    pub async fn watched_page(&self, after: &(String, String), limit: i64) -> Result<Vec<WatchedDeployment>, DbError> {
        let rows = sqlx::query!(
            "SELECT id, aws_connection_id, region, status, coalesce(facts ->> 'service_deployment_arn', facts ->> 'code_deploy_deployment_id') AS \"rollout!\",
                    step_state #>> '{pause,hook}' AS pause_hook,
                    (facts ->> 'ready_until')::timestamptz AS ready_until, facts @> '{\"awaits_renewal\": true}' AS \"awaits_renewal!\"
             FROM deployments
             WHERE watched AND NOT active AND (aws_connection_id, id) > ($1, $2) AND facts ?| '{service_deployment_arn,code_deploy_deployment_id}'
             ORDER BY aws_connection_id, id LIMIT $3",
            after.0,
            after.1,
            limit
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
