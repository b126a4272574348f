//! Deployments as the API shows them. The API writes rows through `create` and `commands`; the reconciler writes the rest (`commit`, `ownership`).

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::{Db, DbError};
use crate::domain::deployment::Status;
use crate::domain::principal::Scope;

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
    /// Seconds from start to end, or until now while it is unfinished (database clock).
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
    /// Position in the queue of its target, from 1; none when it is not queued.
    pub queue_position: Option<i64>,
    pub superseded_by: Option<String>,
    /// The schedule that started it, if any.
    pub schedule_id: Option<String>,
    pub build: Option<serde_json::Value>,
    pub reason: Option<String>,
    pub kind: String,
}

/// A failed attempt that was followed by another, as it may be shown.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "each field is the column of the same name, defined by its comment in the migrations")]
pub struct AttemptView {
    pub attempt: i32,
    pub started_at: DateTime<Utc>,
    pub ended_at: DateTime<Utc>,
    pub step: String,
    pub error_code: String,
    pub error_message: String,
    pub commit_sha: Option<String>,
    pub image_digest: Option<String>,
    pub execution_arn: Option<String>,
    pub code_deploy_deployment_id: Option<String>,
}

/// Filter of a deployment list.
#[derive(Clone, Debug, Default)]
pub struct ListFilter {
    /// Only these statuses; empty for all.
    pub statuses: Vec<Status>,
    /// Only this account or organisation, case-insensitive.
    pub owner: Option<String>,
    /// Only this repository, case-insensitive.
    pub repo: Option<String>,
    /// Only this branch, case-sensitive.
    pub branch: Option<String>,
    /// Started at or after this time.
    pub since: Option<DateTime<Utc>>,
    /// Started before this time.
    pub until: Option<DateTime<Utc>>,
    /// Last row of the previous page: only older ones follow.
    pub before: Option<(DateTime<Utc>, String)>,
    /// Maximum number of rows.
    pub limit: i64,
}

/// Selects a `DeploymentView` for each row that matches the condition, given in pieces, newest first.
macro_rules! views {
    (($($condition:tt)+), $($argument:expr),+ $(,)?) => {
        sqlx::query_as!(
            DeploymentView,
            "SELECT id, status, owner, repo, branch, attempt, step, waiting_for, polling_state, commit_sha, image_uri, image_digest,
                    execution_arn, started_at, completed_at,
                    extract(epoch FROM coalesce(completed_at, now()) - started_at)::float8 AS \"duration_seconds!\",
                    next_event_seq - 1 AS \"event_count!\", final_service, blue_url, green_url, blue_service_arn,
                    green_service_arn, code_deploy_deployment_id, error_code, error_message, blue_latency_ms,
                    green_latency_ms, blue_error_rate, green_error_rate, switch_requested_at, superseded_by, build, reason, kind,
                    (SELECT r.schedule_id FROM schedule_runs r WHERE r.deployment_id = d.id) AS schedule_id,
                    CASE WHEN queued AND status IN ('RUNNING', 'DEPLOYMENT_READY') THEN (
                        SELECT count(*) FROM deployments q
                        WHERE (q.account_id, q.region, q.ecr_repository) = (d.account_id, d.region, d.ecr_repository)
                          AND q.queued AND q.status IN ('RUNNING', 'DEPLOYMENT_READY') AND q.cancel_requested_at IS NULL
                          AND (q.queued_at, q.id) <= (d.queued_at, d.id)) END AS queue_position
             FROM deployments d WHERE in_scope(owner, repo, $1) AND " + $($condition)+ + "
             ORDER BY started_at DESC, id DESC",
            $($argument),+
        )
    };
}

mod pages;

impl Db {
    /// Returns one deployment without a scope check.
    pub async fn deployment(&self, id: &str) -> Result<Option<DeploymentView>, DbError> {
        self.deployment_in(&Scope::All, id).await
    }

    /// Returns one deployment if it is in the scope.
    pub async fn deployment_in(&self, scope: &Scope, id: &str) -> Result<Option<DeploymentView>, DbError> {
        Ok(views!(("id = $2"), scope.sql(), id).fetch_optional(&self.pool).await?)
    }

    /// Reports that a deployment exists in the scope. With the scope of all repositories it is true without a query.
    pub async fn is_in_scope(&self, id: &str, scope: &Scope) -> Result<bool, DbError> {
        let Scope::Repositories(names) = scope else { return Ok(true) };
        is_in_scope(&mut *self.pool.acquire().await?, id, names).await
    }

    /// Lists the attempts of a deployment before the present one, in order.
    pub async fn past_attempts(&self, id: &str) -> Result<Vec<AttemptView>, DbError> {
        Ok(sqlx::query_as!(
            AttemptView,
            "SELECT attempt, started_at, ended_at, step, error_code, error_message, commit_sha, image_digest, execution_arn,
                    code_deploy_deployment_id
             FROM deployment_attempts WHERE deployment_id = $1 ORDER BY attempt",
            id
        )
        .fetch_all(&self.pool)
        .await?)
    }
}

/// Reports, within the caller's transaction, that a deployment belongs to one of the repositories `names`.
pub(super) async fn is_in_scope(connection: &mut PgConnection, id: &str, names: &[String]) -> Result<bool, DbError> {
    let found =
        sqlx::query_scalar!("SELECT id FROM deployments WHERE id = $1 AND in_scope(owner, repo, $2)", id, names)
            .fetch_optional(connection)
            .await?;
    Ok(found.is_some())
}
