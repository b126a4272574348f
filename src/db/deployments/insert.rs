//! The row of a new deployment.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use sqlx::types::Json;

use crate::db::DbError;
use crate::domain::deployment::Concurrency;
use crate::domain::principal::Caller;
use crate::domain::request::Requested;
use crate::domain::trace::Trace;

/// Values of a new row.
#[derive(Clone, Debug)]
pub struct NewDeployment {
    /// Deployment id, with the prefix `dep_`.
    pub id: String,
    /// Account or organisation of the source.
    pub owner: String,
    /// Repository of the source.
    pub repo: String,
    /// Source revision, build options and reason, as requested.
    pub requested: Requested,
    /// Id of the connection to the source repository, with the prefix `gh_`.
    pub github_connection_id: String,
    /// Id of the connection to the AWS account, with the prefix `aws_`.
    pub aws_connection_id: String,
    /// AWS account to deploy to: twelve digits.
    pub account_id: String,
    /// AWS region to deploy to.
    pub region: String,
    /// Name of the ECR repository.
    pub ecr_repository: String,
    /// Name of the first step.
    pub first_step: String,
    /// Policy for a target that has an unfinished deployment.
    pub concurrency: Concurrency,
    /// Id of the deployment that this one rolls back; none for any other deployment.
    pub caused_by: Option<String>,
    /// Reason for which freezes of starts do not hold it, in an approver's words; none if they do.
    pub freeze_override: Option<String>,
    /// Trace of the requesting caller; none starts a new trace.
    pub trace: Option<Trace>,
}

/// How a new deployment begins.
#[derive(Clone, Copy, Debug)]
pub struct Beginning {
    /// It waits in the queue.
    pub queued: bool,
    /// It brings a version back that was live: no freeze holds it.
    pub rolls_back: bool,
    /// An approver overrode the freezes that hold it.
    pub freeze_overridden: bool,
}

/// Inserts the row, and returns its start time. A queued deployment is behind all others of its target; a rollback is ahead of all but other rollbacks.
pub async fn insert(
    connection: &mut PgConnection,
    new: &NewDeployment,
    beginning: Beginning,
    by: &Caller,
) -> Result<DateTime<Utc>, DbError> {
    Ok(sqlx::query_scalar!(
        "INSERT INTO deployments (id, owner, repo, branch, github_connection_id, aws_connection_id, account_id, region,
                                  ecr_repository, step, concurrency, queued, queued_at, started_by, trace_id, trace_parent, build, reason,
                                  kind, caused_by, rolls_back, freeze_overridden, policy_version, policy, requested_labels, facts)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, CASE WHEN $12 THEN clock_timestamp() END, $13,
                 coalesce($14, replace(gen_random_uuid()::text, '-', '')), $15, $16, $17, $18, $19, $20, $21,
                 CASE WHEN NOT $12 THEN (policy_of($2, $3, $7, $8)).version END, CASE WHEN NOT $12 THEN (policy_of($2, $3, $7, $8)).policy END,
                 coalesce((SELECT earlier.requested_labels FROM deployments AS earlier WHERE earlier.id = $19), '{}') || $22::jsonb,
                 -- The source of an image is not fetched: its health check is the one with which it was deployed before.
                 coalesce((SELECT jsonb_build_object('health_check', earlier.facts -> 'health_check') FROM deployments AS earlier
                           WHERE earlier.account_id = $7 AND earlier.region = $8 AND earlier.ecr_repository = $9 AND earlier.status = 'COMPLETED'
                             AND ($4 = 'image ' || (earlier.facts ->> 'image_digest') OR $4 = earlier.branch AND $4 LIKE 'image %')
                             AND earlier.facts ? 'health_check'
                           ORDER BY earlier.completed_at DESC LIMIT 1), '{}'))
         RETURNING started_at",
        new.id,
        new.owner,
        new.repo,
        new.requested.source.column(),
        new.github_connection_id,
        new.aws_connection_id,
        new.account_id,
        new.region,
        new.ecr_repository,
        new.first_step,
        new.concurrency.as_str(),
        beginning.queued,
        by.principal.known_subject(),
        new.trace.as_ref().map(|trace| trace.id.as_str()),
        new.trace.as_ref().and_then(|trace| trace.parent.as_deref()),
        new.requested.build_column(),
        new.requested.reason,
        new.requested.kind.as_str(),
        new.caused_by,
        beginning.rolls_back,
        beginning.freeze_overridden,
        Json(&new.requested.labels) as _
    )
    .fetch_one(connection)
    .await?)
}
