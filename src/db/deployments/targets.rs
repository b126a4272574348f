//! Targets and the deployment that each runs: the newest COMPLETED one of every account, region and repository.

use chrono::{DateTime, Utc};

use super::stages::TargetKey;
use crate::db::{Db, DbError};
use crate::domain::principal::Scope;
use crate::domain::source::Source;

/// A target with its live deployment, and the next one if there is any.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "each field is the column of the same name, defined by its comment in the migrations")]
pub struct LiveTarget {
    pub account_id: String,
    pub region: String,
    pub owner: String,
    pub repo: String,
    /// Id of the live deployment.
    pub id: String,
    /// Name of the branch, tag or commit that is live, or the digest of an image.
    pub source: String,
    pub commit_sha: Option<String>,
    pub completed_at: DateTime<Utc>,
    pub started_by: Option<String>,
    /// The target's unfinished deployment that is not queued.
    pub unfinished_id: Option<String>,
    /// Status of the unfinished deployment.
    pub unfinished_status: Option<String>,
    /// Number of queued deployments.
    pub queued: i64,
}

/// The deployment that is live in a target.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "each field is the column of the same name, defined by its comment in the migrations")]
pub struct LiveDeployment {
    pub id: String,
    pub owner: String,
    pub repo: String,
    /// Name of the branch, tag or commit, or the digest of an image.
    pub source: String,
    pub commit_sha: Option<String>,
    pub image_digest: Option<String>,
    pub completed_at: DateTime<Utc>,
    pub started_by: Option<String>,
}

impl Db {
    /// Returns the newest COMPLETED deployment of a target other than `id`; none when there is none in the scope.
    pub async fn live_deployment(
        &self,
        scope: &Scope,
        target: TargetKey<'_>,
        id: &str,
    ) -> Result<Option<LiveDeployment>, DbError> {
        let row = sqlx::query!(
            "SELECT id, owner, repo, branch, facts ->> 'commit_sha' AS commit_sha, facts ->> 'image_digest' AS image_digest,
                    completed_at AS \"completed_at!\", started_by
             FROM deployments
             WHERE status = 'COMPLETED' AND (account_id, region, ecr_repository) = ($1, $2, $3) AND id <> $4 AND in_scope(owner, repo, $5)
             ORDER BY completed_at DESC LIMIT 1",
            target.account_id,
            target.region,
            target.ecr_repository,
            id,
            scope.sql()
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.map(|row| LiveDeployment {
            source: Source::of_column(&row.branch).name().to_owned(),
            id: row.id,
            owner: row.owner,
            repo: row.repo,
            commit_sha: row.commit_sha,
            image_digest: row.image_digest,
            completed_at: row.completed_at,
            started_by: row.started_by,
        }))
    }

    /// Lists the targets of the scope, those with the newest live deployment first. Reads one index entry a target, however many deployments each has.
    pub async fn live_targets(&self, scope: &Scope, limit: i64) -> Result<Vec<LiveTarget>, DbError> {
        let rows = sqlx::query!(
            "WITH RECURSIVE targets AS (
                (SELECT account_id, region, ecr_repository FROM deployments WHERE status = 'COMPLETED'
                 ORDER BY account_id, region, ecr_repository LIMIT 1)
                UNION ALL
                SELECT next.* FROM targets t, LATERAL (
                    SELECT account_id, region, ecr_repository FROM deployments
                    WHERE status = 'COMPLETED' AND (account_id, region, ecr_repository) > (t.account_id, t.region, t.ecr_repository)
                    ORDER BY account_id, region, ecr_repository LIMIT 1) AS next
             )
             SELECT live.account_id AS \"account_id!\", live.region AS \"region!\", live.owner AS \"owner!\", live.repo AS \"repo!\", live.id AS \"id!\",
                    live.branch AS \"branch!\", live.facts ->> 'commit_sha' AS commit_sha, live.completed_at AS \"completed_at!\", live.started_by,
                    next.id AS \"unfinished_id?\", next.status AS \"unfinished_status?\",
                    (SELECT count(*) FROM deployments q
                     WHERE (q.account_id, q.region, q.ecr_repository) = (t.account_id, t.region, t.ecr_repository)
                       AND q.queued AND q.status IN ('RUNNING', 'DEPLOYMENT_READY')) AS \"queued!\"
             FROM targets t
             CROSS JOIN LATERAL (
                SELECT * FROM deployments l
                WHERE l.status = 'COMPLETED' AND (l.account_id, l.region, l.ecr_repository) = (t.account_id, t.region, t.ecr_repository)
                ORDER BY l.completed_at DESC LIMIT 1) AS live
             LEFT JOIN deployments next ON (next.account_id, next.region, next.ecr_repository) = (t.account_id, t.region, t.ecr_repository)
                AND next.status IN ('RUNNING', 'DEPLOYMENT_READY') AND NOT next.queued
             WHERE in_scope(live.owner, live.repo, $1)
             ORDER BY live.completed_at DESC LIMIT $2",
            scope.sql(),
            limit
        )
        .fetch_all(&self.pool)
        .await?;
        let targets = rows.into_iter().map(|row| LiveTarget {
            source: Source::of_column(&row.branch).name().to_owned(),
            account_id: row.account_id,
            region: row.region,
            owner: row.owner,
            repo: row.repo,
            id: row.id,
            commit_sha: row.commit_sha,
            completed_at: row.completed_at,
            started_by: row.started_by,
            unfinished_id: row.unfinished_id,
            unfinished_status: row.unfinished_status,
            queued: row.queued,
        });
        Ok(targets.collect())
    }
}
