//! Deployments: rows as the API shows them, and the statements with which commands write them. The reconciler writes the rest (`commit`, `ownership`).

pub mod attempts;
pub mod insert;
pub mod repeat;
pub mod requests;
pub mod rollback;
pub mod stages;
pub mod target;
pub mod targets;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use sqlx::types::Json;

pub use insert::NewDeployment;

use super::{Db, DbError};
use crate::domain::deployment::{Facts, Status};
use crate::domain::labels::Labels;
use crate::domain::policy::Policy;
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
    pub waiting_for_form: Option<serde_json::Value>,
    pub started_at: DateTime<Utc>,
    pub completed_at: Option<DateTime<Utc>>,
    /// Seconds from start to end, or until now while it is unfinished (database clock).
    pub duration_seconds: f64,
    pub event_count: i64,
    pub facts: Facts,
    pub error_code: Option<String>,
    pub error_message: Option<String>,
    pub switch_requested_at: Option<DateTime<Utc>>,
    /// Position in the queue of its target, from 1; none when it is not queued.
    pub queue_position: Option<i64>,
    pub superseded_by: Option<String>,
    /// The schedule that started it, if any.
    pub schedule_id: Option<String>,
    pub build: Option<serde_json::Value>,
    pub reason: Option<String>,
    pub kind: String,
    pub started_by: Option<String>,
    pub account_id: String,
    pub region: String,
    pub ecr_repository: String,
    pub cancel_requested_at: Option<DateTime<Utc>>,
    pub ready_at: Option<DateTime<Utc>>,
    pub caused_by: Option<String>,
    pub rolls_back: bool,
    pub freeze_overridden: bool,
    pub policy_version: Option<i32>,
    pub policy: Option<Json<Policy>>,
    pub rollback_requested_at: Option<DateTime<Utc>>,
    pub watched: bool,
    /// The completed deployment that rolled this one back, if any.
    pub rolled_back_by: Option<String>,
    pub traffic_moved_at: Option<DateTime<Utc>>,
    pub outcome: Option<String>,
    pub labels: Json<Labels>,
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
    pub facts: Facts,
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
            "SELECT id, status, owner, repo, branch, attempt, step, waiting_for, waiting_for_form, started_at, completed_at,
                    extract(epoch FROM coalesce(completed_at, now()) - started_at)::float8 AS \"duration_seconds!\",
                    next_event_seq - 1 AS \"event_count!\", facts AS \"facts: Json<Facts>\",
                    error_code, error_message, switch_requested_at, superseded_by, build, reason, kind, started_by,
                    account_id, region, ecr_repository, cancel_requested_at, ready_at, traffic_moved_at, outcome, labels AS \"labels!: Json<Labels>\",
                    (SELECT r.schedule_id FROM schedule_runs r WHERE r.deployment_id = d.id) AS schedule_id,
                    CASE WHEN queued AND status IN ('RUNNING', 'DEPLOYMENT_READY') THEN (
                        SELECT count(*) FROM deployments q
                        WHERE (q.account_id, q.region, q.ecr_repository) = (d.account_id, d.region, d.ecr_repository)
                          AND q.queued AND q.status IN ('RUNNING', 'DEPLOYMENT_READY') AND q.cancel_requested_at IS NULL
                          AND (q.caused_by IS NULL, q.queued_at, q.id) <= (d.caused_by IS NULL, d.queued_at, d.id)) END AS queue_position,
                    caused_by, rolls_back, freeze_overridden, policy_version, policy AS \"policy: Json<Policy>\", rollback_requested_at, watched,
                    (SELECT r.id FROM deployments r WHERE r.caused_by = d.id AND r.status = 'COMPLETED'
                     ORDER BY r.started_at DESC LIMIT 1) AS rolled_back_by
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

    /// Reports that a deployment of the scope is in the archive.
    pub async fn is_archived(&self, scope: &Scope, id: &str) -> Result<bool, DbError> {
        is_archived(&mut *self.pool.acquire().await?, scope, id).await
    }

    /// Lists the attempts of a deployment before the present one, in order.
    pub async fn past_attempts(&self, id: &str) -> Result<Vec<AttemptView>, DbError> {
        Ok(sqlx::query_as!(
            AttemptView,
            "SELECT attempt, started_at, ended_at, step, error_code, error_message, facts AS \"facts: Json<Facts>\"
             FROM deployment_attempts WHERE deployment_id = $1 ORDER BY attempt",
            id
        )
        .fetch_all(&self.pool)
        .await?)
    }
}

/// Reports, within the caller's transaction, that a deployment belongs to one of the repositories `names`.
pub async fn is_in_scope(connection: &mut PgConnection, id: &str, names: &[String]) -> Result<bool, DbError> {
    let found =
        sqlx::query_scalar!("SELECT id FROM deployments WHERE id = $1 AND in_scope(owner, repo, $2)", id, names)
            .fetch_optional(connection)
            .await?;
    Ok(found.is_some())
}

/// Reports, within the caller's transaction, that a deployment of the scope is in the archive.
pub async fn is_archived(connection: &mut PgConnection, scope: &Scope, id: &str) -> Result<bool, DbError> {
    Ok(sqlx::query_scalar!(
        "SELECT EXISTS (SELECT FROM archived_deployments WHERE id = $1 AND in_scope(owner, repo, $2)) AS \"archived!\"",
        id,
        scope.sql()
    )
    .fetch_one(connection)
    .await?)
}
