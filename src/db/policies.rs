//! Policies of targets, in versions, and approvals of switches. Rules are in `domain/policy`.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use sqlx::types::Json;

use super::{Db, DbError};
use crate::domain::connection::{AwsConnection, GithubConnection};
use crate::domain::freeze::Place;
use crate::domain::policy::Policy;
use crate::domain::principal::Scope;

/// The repository and, unless empty, the account and region that a policy is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyTarget {
    /// Account or organisation of the source, in lower case.
    pub owner: String,
    /// Repository of the source, in lower case.
    pub repo: String,
    /// AWS account; empty for all targets.
    pub account_id: String,
    /// AWS region; empty as the account.
    pub region: String,
}

/// One version of a target's rules, with its author.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "each field is the column of the same name, defined by its comment in the migrations")]
pub struct PolicyVersion {
    pub version: i32,
    pub policy: Json<Policy>,
    pub created_by: String,
    pub created_at: DateTime<Utc>,
}

/// The policy in force of a target, or of a repository.
#[derive(Clone, Debug)]
pub struct TargetPolicy {
    /// What it is for.
    pub target: PolicyTarget,
    /// The version in force, with its author.
    pub newest: PolicyVersion,
}

impl Db {
    /// Lists the newest version of each policy of the scope, or of one repository (in lower case), by repository, account and region.
    pub async fn newest_policies(
        &self,
        scope: &Scope,
        repository: Option<(&str, &str)>,
        limit: i64,
    ) -> Result<Vec<TargetPolicy>, DbError> {
        let (owner, repo) = repository.unzip();
        let rows = sqlx::query!(
            "SELECT DISTINCT ON (owner, repo, account_id, region)
                    owner, repo, account_id, region, version, policy AS \"policy: Json<Policy>\", created_by, created_at
             FROM policies
             WHERE in_scope(owner, repo, $1) AND ($2::text IS NULL OR (owner = $2 AND repo = $3))
             ORDER BY owner, repo, account_id, region, version DESC LIMIT $4",
            scope.sql(),
            owner,
            repo,
            limit
        )
        .fetch_all(&self.pool)
        .await?;
        let policies = rows.into_iter().map(|row| TargetPolicy {
            target: PolicyTarget { owner: row.owner, repo: row.repo, account_id: row.account_id, region: row.region },
            newest: PolicyVersion {
                version: row.version,
                policy: row.policy,
                created_by: row.created_by,
                created_at: row.created_at,
            },
        });
        Ok(policies.collect())
    }

    /// Lists the versions of a policy, the newest first.
    pub async fn policy_versions(&self, target: &PolicyTarget, limit: i64) -> Result<Vec<PolicyVersion>, DbError> {
        Ok(sqlx::query_as!(
            PolicyVersion,
            "SELECT version, policy AS \"policy: Json<Policy>\", created_by, created_at FROM policies
             WHERE owner = $1 AND repo = $2 AND account_id = $3 AND region = $4 ORDER BY version DESC LIMIT $5",
            target.owner,
            target.repo,
            target.account_id,
            target.region,
            limit
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// Returns the policies that are in force for places, in their order.
    pub async fn policies_in_force(&self, places: &[Place]) -> Result<Vec<Option<Policy>>, DbError> {
        let part = |part: fn(&Place) -> &String| places.iter().map(part).cloned().collect::<Vec<_>>();
        let rows = sqlx::query_scalar!(
            "SELECT p.policy AS \"policy: Json<Policy>\"
             FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) WITH ORDINALITY AS at (owner, repo, account_id, region, place),
                  policy_of(at.owner, at.repo, at.account_id, at.region) AS p
             ORDER BY at.place",
            &part(|place| &place.owner),
            &part(|place| &place.repo),
            &part(|place| &place.account_id),
            &part(|place| &place.region)
        );
        let policies = rows.fetch_all(&self.pool).await?;
        Ok(policies.into_iter().map(|policy| policy.map(|policy| policy.0)).collect())
    }
}

/// A ready deployment whose policy switches it.
#[derive(Clone, Debug)]
pub struct AutomaticSwitch {
    /// Id of the deployment.
    pub id: String,
    /// `autoSwitch` of its policy.
    pub rule: String,
    /// Digest to which the request is bound.
    pub image_digest: Option<String>,
    /// When its present pause began (database clock).
    pub awaited_at: DateTime<Utc>,
    /// The database's time of the query.
    pub now: DateTime<Utc>,
}

impl Db {
    /// Reports that the newest rollout of a target, or of any target of the repository for a policy of all of them, was one of CodeDeploy.
    pub async fn is_deployed_by_code_deploy(&self, target: &PolicyTarget) -> Result<bool, DbError> {
        let newest = sqlx::query_scalar!(
            "SELECT NOT facts ? 'service_deployment_arn' AS \"by_code_deploy!\" FROM deployments
             WHERE lower(owner COLLATE \"C\") = $1 AND lower(repo COLLATE \"C\") = $2
               AND ($3 = '' OR (account_id, region) = ($3, $4)) AND facts ?| ARRAY['code_deploy_deployment_id', 'service_deployment_arn']
             ORDER BY started_at DESC LIMIT 1",
            target.owner,
            target.repo,
            target.account_id,
            target.region
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(newest == Some(true))
    }

    /// Loads the newest connection to a source repository.
    pub async fn github_connection_to(&self, owner: &str, repo: &str) -> Result<Option<GithubConnection>, DbError> {
        let id = sqlx::query_scalar!(
            "SELECT id FROM github_connections WHERE removed_at IS NULL AND lower(owner) = $1 AND lower(repo) = $2
             ORDER BY coalesce(renewed_at, created_at) DESC, id LIMIT 1",
            owner,
            repo
        )
        .fetch_optional(&self.pool)
        .await?;
        match id {
            Some(id) => self.github_connection(&id).await,
            None => Ok(None),
        }
    }

    /// Loads the newest connection to the account and region of a target.
    pub async fn aws_connection_to(&self, target: &PolicyTarget) -> Result<Option<AwsConnection>, DbError> {
        let id = sqlx::query_scalar!(
            "SELECT id FROM aws_connections WHERE removed_at IS NULL AND account_id = $3 AND region = $4 AND in_scope($1, $2, scope)
             ORDER BY coalesce(renewed_at, created_at) DESC, id LIMIT 1",
            target.owner,
            target.repo,
            target.account_id,
            target.region
        )
        .fetch_optional(&self.pool)
        .await?;
        match id {
            Some(id) => self.aws_connection(&id).await,
            None => Ok(None),
        }
    }

    /// Lists ready deployments whose policy switches them, and whose present pause was not refused, up to 100, those that wait for longest first.
    pub async fn automatic_switches(&self) -> Result<Vec<AutomaticSwitch>, DbError> {
        Ok(sqlx::query_as!(
            AutomaticSwitch,
            "SELECT d.id, d.policy ->> 'autoSwitch' AS \"rule!\", d.facts ->> 'image_digest' AS image_digest,
                    awaited.at AS \"awaited_at!\", clock_timestamp() AS \"now!\"
             FROM deployments d
             CROSS JOIN LATERAL (SELECT max(e.created_at) AS at FROM deployment_events e
                                 WHERE e.deployment_id = d.id AND e.attempt = d.attempt AND e.code = 'awaiting_switch') awaited
             WHERE d.status = 'DEPLOYMENT_READY' AND NOT d.queued AND d.policy ? 'autoSwitch' AND NOT d.rolls_back
               AND d.switch_requested_at IS NULL AND d.cancel_requested_at IS NULL AND awaited.at IS NOT NULL
               AND NOT EXISTS (SELECT FROM deployment_events r WHERE r.deployment_id = d.id AND r.attempt = d.attempt
                                 AND r.code = 'switch_refused' AND r.created_at >= awaited.at)
             ORDER BY awaited.at LIMIT 100"
        )
        .fetch_all(&self.pool)
        .await?)
    }
}

/// Returns the policy that is in force for a place, within the caller's transaction.
pub async fn in_force(connection: &mut PgConnection, place: &Place) -> Result<Option<Policy>, DbError> {
    let policy = sqlx::query_scalar!(
        "SELECT p.policy AS \"policy: Json<Policy>\" FROM policy_of($1, $2, $3, $4) AS p",
        place.owner,
        place.repo,
        place.account_id,
        place.region
    )
    .fetch_one(connection)
    .await?;
    Ok(policy.map(|policy| policy.0))
}

/// Returns the newest version of a policy, within the caller's transaction, which others that store one wait for.
pub async fn lock_newest(
    connection: &mut PgConnection,
    target: &PolicyTarget,
) -> Result<Option<PolicyVersion>, DbError> {
    let PolicyTarget { owner, repo, account_id, region } = target;
    sqlx::query!(
        "SELECT pg_advisory_xact_lock(hashtextextended($1, 0)) AS \"locked: _\"",
        format!("policy {owner}/{repo}/{account_id}/{region}") as _
    )
    .execute(&mut *connection)
    .await?;
    Ok(sqlx::query_as!(
        PolicyVersion,
        "SELECT version, policy AS \"policy: Json<Policy>\", created_by, created_at FROM policies
         WHERE owner = $1 AND repo = $2 AND account_id = $3 AND region = $4 ORDER BY version DESC LIMIT 1",
        owner,
        repo,
        account_id,
        region
    )
    .fetch_optional(connection)
    .await?)
}

/// Inserts a version, and returns it.
pub async fn insert(
    connection: &mut PgConnection,
    target: &PolicyTarget,
    version: i32,
    policy: &Policy,
    created_by: &str,
) -> Result<PolicyVersion, DbError> {
    Ok(sqlx::query_as!(
        PolicyVersion,
        "INSERT INTO policies (owner, repo, account_id, region, version, policy, created_by) VALUES ($1, $2, $3, $4, $5, $6, $7)
         RETURNING version, policy AS \"policy: Json<Policy>\", created_by, created_at",
        target.owner,
        target.repo,
        target.account_id,
        target.region,
        version,
        Json(policy) as _,
        created_by
    )
    .fetch_one(connection)
    .await?)
}

/// An approval of the present attempt's image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Approval {
    /// False when the caller had approved it before.
    pub new: bool,
    /// Number of approvers of this image so far.
    pub given: i64,
}

/// Records the caller's approval of a ready deployment's image; none when it is not ready, is being cancelled, or has another image or last pause than the
/// given one.
pub async fn approve(
    connection: &mut PgConnection,
    id: &str,
    subject: &str,
    (image_digest, pause): (Option<&str>, Option<&str>),
    audited: i64,
) -> Result<Option<Approval>, DbError> {
    // The row's lock: of two concurrent approvers the second one sees the first.
    let ready = sqlx::query!(
        "SELECT attempt, coalesce(facts ->> 'image_digest', '') AS \"digest!\" FROM deployments
         WHERE id = $1 AND status = 'DEPLOYMENT_READY' AND cancel_requested_at IS NULL
           AND ($2::text IS NULL OR facts ->> 'image_digest' = $2) AND ($3::text IS NULL OR facts #>> '{pauses,-1,id}' = $3)
         FOR NO KEY UPDATE",
        id,
        image_digest,
        pause
    )
    .fetch_optional(&mut *connection)
    .await?;
    let Some(ready) = ready else { return Ok(None) };
    // An approval is for one pause of the rollout: the next one was announced after it.
    sqlx::query!(
        "DELETE FROM approvals a WHERE a.deployment_id = $1 AND a.attempt = $2 AND a.at < (
             SELECT max(e.created_at) FROM deployment_events e
             WHERE e.deployment_id = $1 AND e.attempt = $2 AND e.code = 'awaiting_switch')",
        id,
        ready.attempt
    )
    .execute(&mut *connection)
    .await?;
    let added = sqlx::query!(
        "INSERT INTO approvals (deployment_id, attempt, subject, image_digest, audit_id) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
        id,
        ready.attempt,
        subject,
        ready.digest,
        audited
    )
    .execute(&mut *connection)
    .await?;
    let given = sqlx::query_scalar!(
        "SELECT count(*) AS \"given!\" FROM approvals WHERE deployment_id = $1 AND attempt = $2 AND image_digest = $3",
        id,
        ready.attempt,
        ready.digest
    )
    .fetch_one(connection)
    .await?;
    Ok(Some(Approval { new: added.rows_affected() == 1, given }))
}

/// Returns when the deployment became ready, and the database's time; none when it is not ready.
pub async fn ready_since(
    connection: &mut PgConnection,
    id: &str,
) -> Result<Option<(DateTime<Utc>, DateTime<Utc>)>, DbError> {
    let row = sqlx::query!(
        "SELECT ready_at AS \"ready_at!\", clock_timestamp() AS \"now!\" FROM deployments WHERE id = $1 AND status = 'DEPLOYMENT_READY' AND ready_at IS NOT NULL",
        id
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| (row.ready_at, row.now)))
}
