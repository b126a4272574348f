//! Releases of a target, and the requests to roll one back.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::target::DeploymentTarget;
use crate::db::{Db, DbError};
use crate::domain::deployment::Status;
use crate::domain::principal::Scope;
use crate::domain::rollback::{LiveRelease, Release};
use crate::domain::source::Source;

/// A deployment as a rollback sees it, in any status.
#[derive(Clone, Debug)]
pub struct RollbackSubject {
    /// Version that it brought.
    pub release: Release,
    /// Public status of the deployment.
    pub status: Status,
    /// Account or organisation of the source.
    pub owner: String,
    /// Repository of the source.
    pub repo: String,
    /// Its target, with the connections that it used.
    pub target: DeploymentTarget,
    /// When it ended; none while it is unfinished.
    pub completed_at: Option<DateTime<Utc>>,
    /// AWS can still take its traffic back.
    pub blue_lives: bool,
    /// A rollback at AWS is in progress.
    pub rolling_back: bool,
}

/// A deployment that rolls another one back, and has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnfinishedRollback {
    /// Id of the deployment.
    pub id: String,
    /// Digest of the image that it deploys.
    pub image_digest: String,
    /// True while it waits for the target.
    pub queued: bool,
}

/// Selects releases of a target that ended before a time, the newest first, with a further condition.
macro_rules! release_before {
    ($connection:expr, $target:expr, $before:expr, ($($condition:tt)+), $($argument:expr),*) => {{
        let row = sqlx::query!(
            "SELECT id, branch, facts ->> 'image_digest' AS image_digest,
                    EXISTS (SELECT FROM deployments r WHERE r.caused_by = d.id AND r.status = 'COMPLETED') AS \"rolled_back!\"
             FROM deployments d
             WHERE status = 'COMPLETED' AND (account_id, region, ecr_repository) = ($1, $2, $3) AND final_service = 'green'
               AND (completed_at, id) < ($4, $5)" + $($condition)+ + "
             ORDER BY completed_at DESC, id DESC LIMIT 1",
            $target.account_id,
            $target.region,
            $target.ecr_repository,
            $before.0,
            $before.1,
            $($argument),*
        )
        .fetch_optional($connection)
        .await?;
        Ok(row.map(|row| release(row.id, &row.branch, row.image_digest, row.rolled_back)))
    }};
}

fn release(id: String, branch: &str, image_digest: Option<String>, rolled_back: bool) -> Release {
    let source = Source::of_column(branch);
    let requested_image = matches!(source, Source::Image(_)).then(|| source.name().to_owned());
    Release { id, image_digest, requested_image, rolled_back }
}

/// Locks the row of a deployment until the transaction ends: its driver's next commit waits.
pub async fn lock(connection: &mut PgConnection, id: &str) -> Result<(), DbError> {
    sqlx::query!("SELECT id FROM deployments WHERE id = $1 FOR NO KEY UPDATE", id).fetch_optional(connection).await?;
    Ok(())
}

/// Returns a deployment of the scope; none when there is none.
pub async fn subject(
    connection: &mut PgConnection,
    scope: &Scope,
    id: &str,
) -> Result<Option<RollbackSubject>, DbError> {
    let row = sqlx::query!(
        "SELECT id, branch, status, owner, repo, account_id, region, ecr_repository, github_connection_id, aws_connection_id,
                completed_at, facts ->> 'image_digest' AS image_digest, rollback_requested_at IS NOT NULL AS \"rolling_back!\",
                (watched AND status = 'COMPLETED' AND facts ?| '{service_deployment_arn,code_deploy_deployment_id}') AS \"blue_lives!\",
                EXISTS (SELECT FROM deployments r WHERE r.caused_by = d.id AND r.status = 'COMPLETED') AS \"rolled_back!\"
         FROM deployments d WHERE id = $1 AND in_scope(owner, repo, $2)",
        id,
        scope.sql()
    )
    .fetch_optional(connection)
    .await?;
    row.map(|row| {
        Ok(RollbackSubject {
            release: release(row.id, &row.branch, row.image_digest, row.rolled_back),
            status: row.status.parse().map_err(DbError::corrupt)?,
            owner: row.owner,
            repo: row.repo,
            target: DeploymentTarget {
                account_id: row.account_id,
                region: row.region,
                ecr_repository: row.ecr_repository,
                github_connection_id: row.github_connection_id,
                aws_connection_id: row.aws_connection_id,
            },
            completed_at: row.completed_at,
            blue_lives: row.blue_lives,
            rolling_back: row.rolling_back,
        })
    })
    .transpose()
}

/// Returns the id of the deployment that is live in the target: the newest COMPLETED one whose traffic is on green.
pub async fn live_id(connection: &mut PgConnection, target: &DeploymentTarget) -> Result<Option<String>, DbError> {
    Ok(sqlx::query_scalar!(
        "SELECT id FROM deployments
         WHERE status = 'COMPLETED' AND (account_id, region, ecr_repository) = ($1, $2, $3) AND final_service = 'green'
         ORDER BY completed_at DESC, id DESC LIMIT 1",
        target.account_id,
        target.region,
        target.ecr_repository
    )
    .fetch_optional(connection)
    .await?)
}

/// Returns the live deployment with the release before it.
pub async fn with_release_before(
    connection: &mut PgConnection,
    subject: &RollbackSubject,
) -> Result<LiveRelease, DbError> {
    let (release, blue_lives) = (subject.release.clone(), subject.blue_lives);
    let before = (subject.completed_at, subject.release.id.as_str());
    let before: Result<Option<Release>, DbError> = release_before!(connection, subject.target, before, (""),);
    Ok(LiveRelease { release, blue_lives, before: before? })
}

/// Returns the newest release before the live one that has another image and was not rolled back.
pub async fn last_good(connection: &mut PgConnection, subject: &RollbackSubject) -> Result<Option<Release>, DbError> {
    let before = (subject.completed_at, subject.release.id.as_str());
    let same = subject.release.digests();
    let columns: Vec<String> = same.iter().map(|digest| Source::Image(digest.clone()).column()).collect();
    release_before!(
        connection,
        subject.target,
        before,
        ("
               AND facts ->> 'image_digest' <> ALL ($6) AND branch <> ALL ($7)
               AND NOT EXISTS (SELECT FROM deployments r WHERE r.caused_by = d.id AND r.status = 'COMPLETED')"),
        &same,
        &columns
    )
}

/// Returns the unfinished deployment that rolls `id` back, if any.
pub async fn unfinished(connection: &mut PgConnection, id: &str) -> Result<Option<UnfinishedRollback>, DbError> {
    let row = sqlx::query!(
        "SELECT id, branch, queued FROM deployments WHERE caused_by = $1 AND status IN ('RUNNING', 'DEPLOYMENT_READY')
         ORDER BY started_at LIMIT 1",
        id
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| UnfinishedRollback {
        image_digest: Source::of_column(&row.branch).name().to_owned(),
        id: row.id,
        queued: row.queued,
    }))
}

/// Requests that AWS takes the traffic of a COMPLETED deployment back; false unless AWS still can. `audited` is the id of the request's audit row.
pub async fn request(connection: &mut PgConnection, id: &str, audited: i64) -> Result<bool, DbError> {
    let updated = sqlx::query!(
        "UPDATE deployments SET rollback_requested_at = coalesce(rollback_requested_at, now()),
                                rollback_audit_id = CASE WHEN rollback_requested_at IS NULL THEN $2 ELSE rollback_audit_id END
         WHERE id = $1 AND status = 'COMPLETED' AND watched",
        id,
        audited
    )
    .execute(connection)
    .await?;
    Ok(updated.rows_affected() == 1)
}

/// The rollback that a caller can request of a deployment now.
#[derive(Clone, Debug)]
pub struct PossibleRollback {
    /// The deployment is live, with the release before it.
    pub live: LiveRelease,
    /// The release that a new deployment would return to.
    pub last_good: Option<Release>,
}

impl Db {
    /// Returns the rollback of a deployment that is COMPLETED, live and not being rolled back; none for any other.
    pub async fn possible_rollback(&self, scope: &Scope, id: &str) -> Result<Option<PossibleRollback>, DbError> {
        let mut connection = self.pool.acquire().await?;
        let Some(found) = subject(&mut connection, scope, id).await? else { return Ok(None) };
        let live = live_id(&mut connection, &found.target).await?;
        if found.status != Status::Completed || found.rolling_back || live.as_deref() != Some(id) {
            return Ok(None);
        }
        if unfinished(&mut connection, id).await?.is_some() {
            return Ok(None);
        }
        let live = with_release_before(&mut connection, &found).await?;
        let last_good = last_good(&mut connection, &found).await?;
        Ok(Some(PossibleRollback { live, last_good }))
    }
}
