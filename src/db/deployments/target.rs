//! The target of a deployment and its other deployments. The caller holds the target's lock (`db/queue`).

use sqlx::PgConnection;

use super::NewDeployment;
use crate::db::DbError;

/// Target and connections of a deployment.
#[derive(Clone, Debug)]
pub struct DeploymentTarget {
    /// AWS account: twelve digits.
    pub account_id: String,
    /// AWS region.
    pub region: String,
    /// Name of the ECR repository.
    pub ecr_repository: String,
    /// Id of the connection to the source repository.
    pub github_connection_id: String,
    /// Id of the connection to the AWS account.
    pub aws_connection_id: String,
}

/// An unfinished deployment of a target.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a separate condition of the row")]
pub struct TargetUser {
    /// Id of the deployment.
    pub id: String,
    /// True if it waits for the target.
    pub queued: bool,
    /// True if its switch was requested.
    pub switching: bool,
    /// True if it rolls another one back: it is ahead in the queue.
    pub rollback: bool,
    /// True if no freeze holds it.
    pub exempt: bool,
}

/// Returns the target of a deployment; none when it does not exist.
pub async fn target_of(connection: &mut PgConnection, id: &str) -> Result<Option<DeploymentTarget>, DbError> {
    let target = sqlx::query_as!(
        DeploymentTarget,
        "SELECT account_id, region, ecr_repository, github_connection_id, aws_connection_id FROM deployments WHERE id = $1",
        id
    )
    .fetch_optional(connection)
    .await?;
    Ok(target)
}

/// Returns another deployment that holds the target, or waits for it.
pub async fn other_user(
    connection: &mut PgConnection,
    target: &DeploymentTarget,
    id: &str,
) -> Result<Option<String>, DbError> {
    Ok(sqlx::query_scalar!(
        "SELECT id FROM deployments
         WHERE account_id = $1 AND region = $2 AND ecr_repository = $3 AND status IN ('RUNNING', 'DEPLOYMENT_READY') AND id <> $4
         ORDER BY queued, (caused_by IS NULL), queued_at, id LIMIT 1",
        target.account_id,
        target.region,
        target.ecr_repository,
        id
    )
    .fetch_optional(connection)
    .await?)
}

/// Finds another source repository to which the ECR repository's name belongs.
pub async fn other_source(
    connection: &mut PgConnection,
    new: &NewDeployment,
) -> Result<Option<(String, String)>, DbError> {
    let taken = sqlx::query!(
        // All rows are of one repository if the first and the last of them in order are.
        "SELECT owner AS \"owner!\", repo AS \"repo!\" FROM (
             (SELECT owner, repo FROM deployments WHERE account_id = $1 AND region = $2 AND ecr_repository = $3
              ORDER BY lower(owner COLLATE \"C\") || '/' || lower(repo COLLATE \"C\") LIMIT 1)
             UNION ALL
             (SELECT owner, repo FROM deployments WHERE account_id = $1 AND region = $2 AND ecr_repository = $3
              ORDER BY lower(owner COLLATE \"C\") || '/' || lower(repo COLLATE \"C\") DESC LIMIT 1)
         ) AS ends
         WHERE lower(owner COLLATE \"C\") || '/' || lower(repo COLLATE \"C\") <> lower($4 COLLATE \"C\") || '/' || lower($5 COLLATE \"C\")
         LIMIT 1",
        new.account_id,
        new.region,
        new.ecr_repository,
        new.owner,
        new.repo
    )
    .fetch_optional(connection)
    .await?;
    Ok(taken.map(|other| (other.owner, other.repo)))
}

/// Reports that the deployment brings an image back that was live in its target.
pub async fn returns_release(connection: &mut PgConnection, new: &NewDeployment) -> Result<bool, DbError> {
    Ok(sqlx::query_scalar!(
        "SELECT EXISTS (SELECT FROM deployments r
                        WHERE r.account_id = $1 AND r.region = $2 AND r.ecr_repository = $3 AND r.status = 'COMPLETED'
                          AND ($4 = 'image ' || (r.facts ->> 'image_digest') OR $4 = r.branch) AND $4 LIKE 'image %') AS \"any!\"",
        new.account_id,
        new.region,
        new.ecr_repository,
        new.requested.source.column()
    )
    .fetch_one(connection)
    .await?)
}

/// Lists the unfinished deployments of the target: the holder first, then those in the queue, in order.
pub async fn unfinished(connection: &mut PgConnection, new: &NewDeployment) -> Result<Vec<TargetUser>, DbError> {
    Ok(sqlx::query_as!(
        TargetUser,
        "SELECT id, queued, switch_requested_at IS NOT NULL AS \"switching!\", caused_by IS NOT NULL AS \"rollback!\",
                rolls_back OR freeze_overridden AS \"exempt!\" FROM deployments
         WHERE account_id = $1 AND region = $2 AND ecr_repository = $3 AND status IN ('RUNNING', 'DEPLOYMENT_READY')
         ORDER BY queued, (caused_by IS NULL), queued_at, id",
        new.account_id,
        new.region,
        new.ecr_repository
    )
    .fetch_all(connection)
    .await?)
}
