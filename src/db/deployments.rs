//! Deployments as the API sees them: created, wished for, read. The rest of the row is the reconciler's (`commit`, `ownership`).

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;

use super::idempotency::{IdempotencyKey, Once, keep, reserve};
use super::{Db, DbError};
use crate::domain::deployment::Status;

/// What is needed for a new row.
#[derive(Clone, Debug)]
pub struct NewDeployment {
    /// `dep_…`
    pub id: String,
    /// Account or organisation of the source.
    pub owner: String,
    /// Repository of the source.
    pub repo: String,
    /// Branch.
    pub branch: String,
    /// `gh_…`
    pub github_connection_id: String,
    /// `aws_…`
    pub aws_connection_id: String,
    /// AWS account that is deployed to.
    pub account_id: String,
    /// AWS region that is deployed to.
    pub region: String,
    /// Name of the ECR repository.
    pub ecr_repository: String,
    /// Name of the first step.
    pub first_step: String,
}

/// What became of a request to create.
#[derive(Clone, Debug, PartialEq)]
pub enum Created {
    /// The row is there; when it started.
    New(DateTime<Utc>),
    /// The key was used for the same body before: the answer of then.
    Repeated(Value),
    /// The key was used for another body.
    KeyReused,
    /// The ECR repository's name belongs to this other source repository in that account and region.
    NameTaken {
        /// Account or organisation of the other.
        owner: String,
        /// Repository of the other.
        repo: String,
    },
}

/// What became of a wish to switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SwitchRequest {
    /// It is wished, now or before.
    Accepted,
    /// Not in this status.
    NotReady(Status),
    /// There is no such deployment.
    Unknown,
}

/// What became of a wish to cancel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelRequest {
    /// It is wished, now or before.
    Accepted,
    /// It has ended.
    Finished(Status),
    /// There is no such deployment.
    Unknown,
}

/// A deployment as it may be shown.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "each field is the column of the same name, defined by its comment in the migrations")]
pub struct DeploymentView {
    pub id: String,
    pub status: String,
    pub owner: String,
    pub repo: String,
    pub branch: String,
    pub attempt: i32,
    pub step: String,
    pub waiting_for: Option<String>,
    pub polling_state: Option<String>,
    pub commit_sha: Option<String>,
    pub image_uri: Option<String>,
    pub image_digest: Option<String>,
    pub execution_arn: Option<String>,
    pub started_at: DateTime<Utc>,
    pub completed_at: Option<DateTime<Utc>>,
    /// Seconds from start to end, or until now while it is not finished (database clock).
    pub duration_seconds: f64,
    pub event_count: i64,
    pub final_service: Option<String>,
    pub blue_url: Option<String>,
    pub green_url: Option<String>,
    pub blue_service_arn: Option<String>,
    pub green_service_arn: Option<String>,
    pub code_deploy_deployment_id: Option<String>,
    pub error_code: Option<String>,
    pub error_message: Option<String>,
    pub blue_latency_ms: Option<f64>,
    pub green_latency_ms: Option<f64>,
    pub blue_error_rate: Option<f64>,
    pub green_error_rate: Option<f64>,
    pub switch_requested_at: Option<DateTime<Utc>>,
}

/// Which deployments to list.
#[derive(Clone, Debug, Default)]
pub struct ListFilter {
    /// Only these statuses; empty for all.
    pub statuses: Vec<Status>,
    /// Only this account or organisation.
    pub owner: Option<String>,
    /// Only this repository.
    pub repo: Option<String>,
    /// Only this branch.
    pub branch: Option<String>,
    /// Started at or after.
    pub since: Option<DateTime<Utc>>,
    /// Started before.
    pub until: Option<DateTime<Utc>>,
    /// The last row of the page before: only older ones.
    pub before: Option<(DateTime<Utc>, String)>,
    /// Most rows.
    pub limit: i64,
}

impl Db {
    /// Creates a deployment, RUNNING at its first step, and keeps `answer` (made from its start) for the key, in one transaction.
    pub async fn create_deployment(
        &self,
        new: &NewDeployment,
        key: Option<&IdempotencyKey>,
        answer: impl FnOnce(DateTime<Utc>) -> Value,
    ) -> Result<Created, DbError> {
        let mut tx = self.pool.begin().await?;
        // Two creations of one ambiguous name at once must see each other; the lock ends with the transaction.
        sqlx::query!(
            "SELECT pg_advisory_xact_lock(hashtextextended($1, 0)) AS \"locked: _\"",
            format!("target {}/{}/{}", new.account_id, new.region, new.ecr_repository) as _
        )
        .execute(&mut *tx)
        .await?;
        match reserve::<()>(&mut tx, key).await? {
            Some(Once::Repeated(answer)) => return Ok(Created::Repeated(answer)),
            Some(Once::KeyReused) => return Ok(Created::KeyReused),
            Some(Once::Now(())) | None => {}
        }
        let taken = sqlx::query!(
            "SELECT owner, repo FROM deployments
             WHERE account_id = $1 AND region = $2 AND ecr_repository = $3 AND (lower(owner), lower(repo)) <> (lower($4), lower($5))
             LIMIT 1",
            new.account_id,
            new.region,
            new.ecr_repository,
            new.owner,
            new.repo
        )
        .fetch_optional(&mut *tx)
        .await?;
        if let Some(other) = taken {
            return Ok(Created::NameTaken { owner: other.owner, repo: other.repo });
        }
        let started_at = sqlx::query_scalar!(
            "INSERT INTO deployments (id, owner, repo, branch, github_connection_id, aws_connection_id, account_id, region,
                                      ecr_repository, step)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) RETURNING started_at",
            new.id,
            new.owner,
            new.repo,
            new.branch,
            new.github_connection_id,
            new.aws_connection_id,
            new.account_id,
            new.region,
            new.ecr_repository,
            new.first_step
        )
        .fetch_one(&mut *tx)
        .await?;
        keep(&mut tx, key, &answer(started_at)).await?;
        tx.commit().await?;
        Ok(Created::New(started_at))
    }

    /// Wishes for the traffic switch; repeating the wish changes nothing.
    pub async fn request_switch(&self, id: &str) -> Result<SwitchRequest, DbError> {
        wish_switch(&mut *self.pool.acquire().await?, id).await
    }

    /// The same for a request with a key: the wish and `answer` are kept together, or neither.
    pub async fn request_switch_once(
        &self,
        id: &str,
        key: &IdempotencyKey,
        answer: &Value,
    ) -> Result<Once<SwitchRequest>, DbError> {
        let mut tx = self.pool.begin().await?;
        if let Some(known) = reserve(&mut tx, Some(key)).await? {
            return Ok(known);
        }
        let made = wish_switch(&mut tx, id).await?;
        if made == SwitchRequest::Accepted {
            keep(&mut tx, Some(key), answer).await?;
            tx.commit().await?;
        }
        Ok(Once::Now(made))
    }

    /// Wishes for the end of the deployment; repeating the wish changes nothing.
    pub async fn request_cancel(&self, id: &str) -> Result<CancelRequest, DbError> {
        wish_cancel(&mut *self.pool.acquire().await?, id).await
    }

    /// The same for a request with a key: the wish and `answer` are kept together, or neither.
    pub async fn request_cancel_once(
        &self,
        id: &str,
        key: &IdempotencyKey,
        answer: &Value,
    ) -> Result<Once<CancelRequest>, DbError> {
        let mut tx = self.pool.begin().await?;
        if let Some(known) = reserve(&mut tx, Some(key)).await? {
            return Ok(known);
        }
        let made = wish_cancel(&mut tx, id).await?;
        if made == CancelRequest::Accepted {
            keep(&mut tx, Some(key), answer).await?;
            tx.commit().await?;
        }
        Ok(Once::Now(made))
    }

    /// One deployment.
    pub async fn deployment(&self, id: &str) -> Result<Option<DeploymentView>, DbError> {
        let filter = ListFilter { limit: 1, ..ListFilter::default() };
        Ok(self.select(Some(id), &filter).await?.pop())
    }

    /// Deployments, newest first.
    pub async fn list_deployments(&self, filter: &ListFilter) -> Result<Vec<DeploymentView>, DbError> {
        self.select(None, filter).await
    }

    /// The newest deployment that is not finished.
    pub async fn current_deployment(&self) -> Result<Option<DeploymentView>, DbError> {
        let statuses = vec![Status::Running, Status::DeploymentReady];
        Ok(self.select(None, &ListFilter { statuses, limit: 1, ..ListFilter::default() }).await?.pop())
    }

    async fn select(&self, id: Option<&str>, filter: &ListFilter) -> Result<Vec<DeploymentView>, DbError> {
        let statuses: Vec<String> = filter.statuses.iter().map(|status| status.as_str().to_owned()).collect();
        let (before_at, before_id) = filter.before.clone().unzip();
        Ok(sqlx::query_as!(
            DeploymentView,
            "SELECT id, status, owner, repo, branch, attempt, step, waiting_for, polling_state, commit_sha, image_uri, image_digest,
                    execution_arn, started_at, completed_at,
                    extract(epoch FROM coalesce(completed_at, now()) - started_at)::float8 AS \"duration_seconds!\",
                    next_event_seq - 1 AS \"event_count!\", final_service, blue_url, green_url, blue_service_arn,
                    green_service_arn, code_deploy_deployment_id, error_code, error_message, blue_latency_ms,
                    green_latency_ms, blue_error_rate, green_error_rate, switch_requested_at
             FROM deployments
             WHERE ($1::text IS NULL OR id = $1)
               AND (cardinality($2::text[]) = 0 OR status = ANY ($2))
               AND ($3::text IS NULL OR owner = $3)
               AND ($4::text IS NULL OR repo = $4)
               AND ($5::text IS NULL OR branch = $5)
               AND ($6::timestamptz IS NULL OR started_at >= $6)
               AND ($7::timestamptz IS NULL OR started_at < $7)
               AND ($8::timestamptz IS NULL OR (started_at, id) < ($8, $9))
             ORDER BY started_at DESC, id DESC LIMIT $10",
            id,
            &statuses,
            filter.owner,
            filter.repo,
            filter.branch,
            filter.since,
            filter.until,
            before_at,
            before_id,
            filter.limit
        )
        .fetch_all(&self.pool)
        .await?)
    }
}

async fn wish_switch(connection: &mut PgConnection, id: &str) -> Result<SwitchRequest, DbError> {
    let wished = sqlx::query!(
        "UPDATE deployments SET switch_requested_at = coalesce(switch_requested_at, now())
         WHERE id = $1 AND status = 'DEPLOYMENT_READY' AND cancel_requested_at IS NULL",
        id
    )
    .execute(&mut *connection)
    .await?
    .rows_affected();
    if wished == 1 {
        return Ok(SwitchRequest::Accepted);
    }
    Ok(status(connection, id).await?.map_or(SwitchRequest::Unknown, SwitchRequest::NotReady))
}

async fn wish_cancel(connection: &mut PgConnection, id: &str) -> Result<CancelRequest, DbError> {
    let wished = sqlx::query!(
        "UPDATE deployments SET cancel_requested_at = coalesce(cancel_requested_at, now())
         WHERE id = $1 AND status IN ('RUNNING', 'DEPLOYMENT_READY')",
        id
    )
    .execute(&mut *connection)
    .await?
    .rows_affected();
    if wished == 1 {
        return Ok(CancelRequest::Accepted);
    }
    Ok(status(connection, id).await?.map_or(CancelRequest::Unknown, CancelRequest::Finished))
}

async fn status(connection: &mut PgConnection, id: &str) -> Result<Option<Status>, DbError> {
    let status =
        sqlx::query_scalar!("SELECT status FROM deployments WHERE id = $1", id).fetch_optional(connection).await?;
    status.map(|status| status.parse().map_err(DbError::Corrupt)).transpose()
}
