//! Policies of targets, in versions, and approvals of switches. Rules are in `domain/policy`.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use sqlx::types::Json;

use super::{Db, DbError};
use crate::domain::freeze::Place;
use crate::domain::policy::Policy;

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

impl Db {
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

    /// Returns the policy that is in force for a place.
    pub async fn policy_in_force(&self, place: &Place) -> Result<Option<Policy>, DbError> {
        in_force(&mut *self.pool.acquire().await?, place).await
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

/// Records the caller's approval of a ready deployment's image; none when it is not ready, is being cancelled, or has another image than `image_digest`.
pub async fn approve(
    connection: &mut PgConnection,
    id: &str,
    subject: &str,
    image_digest: Option<&str>,
    audited: i64,
) -> Result<Option<Approval>, DbError> {
    // The row's lock: of two concurrent approvers the second one sees the first.
    let ready = sqlx::query!(
        "SELECT attempt, coalesce(facts ->> 'image_digest', '') AS \"digest!\" FROM deployments
         WHERE id = $1 AND status = 'DEPLOYMENT_READY' AND cancel_requested_at IS NULL
           AND ($2::text IS NULL OR facts ->> 'image_digest' = $2) FOR NO KEY UPDATE",
        id,
        image_digest
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
