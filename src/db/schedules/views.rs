//! Schedules and their runs as the API shows them.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use sqlx::types::Json;

use crate::db::{Db, DbError};
use crate::domain::labels::Labels;
use crate::domain::principal::Scope;

/// A schedule as it may be shown, with its last run.
#[derive(Clone, Debug)]
#[allow(
    missing_docs,
    reason = "each field is the column of the same name, defined by its comment in the migrations; last_… are of schedule_runs"
)]
pub struct ScheduleView {
    pub id: String,
    pub name: Option<String>,
    pub cron: String,
    pub time_zone: String,
    pub github_connection_id: String,
    pub aws_connection_id: String,
    pub owner: String,
    pub repo: String,
    pub branch: String,
    pub build: Option<serde_json::Value>,
    pub reason: Option<String>,
    pub kind: String,
    pub labels: Json<Labels>,
    pub concurrency: String,
    pub missed: String,
    pub paused: bool,
    pub next_run_at: Option<DateTime<Utc>>,
    pub version: i64,
    pub made_by: String,
    pub stopped_at: Option<DateTime<Utc>>,
    pub stopped_code: Option<String>,
    pub stopped_reason: Option<String>,
    pub stopped_text: Option<serde_json::Value>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub last_due_at: Option<DateTime<Utc>>,
    pub last_at: Option<DateTime<Utc>>,
    pub last_result: Option<String>,
    pub last_times: Option<i32>,
    pub last_deployment_id: Option<String>,
    pub last_error_code: Option<String>,
    pub last_error_message: Option<String>,
    pub last_error_text: Option<serde_json::Value>,
    pub last_asked_by: Option<String>,
}

/// Record of a time at which a schedule was due.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "each field is the column of the same name, defined by its comment in the migrations")]
pub struct ScheduleRunView {
    pub due_at: DateTime<Utc>,
    pub at: DateTime<Utc>,
    pub result: String,
    pub times: i32,
    pub deployment_id: Option<String>,
    pub error_code: Option<String>,
    pub error_message: Option<String>,
    pub error_text: Option<serde_json::Value>,
    pub asked_by: Option<String>,
}

/// Filter of a list of schedules.
#[derive(Clone, Debug, Default)]
pub struct ScheduleFilter {
    /// Only of this account or organisation.
    pub owner: Option<String>,
    /// Only of this repository.
    pub repo: Option<String>,
    /// Last schedule of the previous page: only older ones follow.
    pub before: Option<(DateTime<Utc>, String)>,
    /// Maximum number of schedules.
    pub limit: i64,
}

/// Page of a schedule's runs, newest first.
#[derive(Clone, Debug, Default)]
pub struct ScheduleRunFilter {
    /// Last run of the previous page: only those due earlier follow.
    pub before: Option<DateTime<Utc>>,
    /// Maximum number of runs.
    pub limit: i64,
}

impl Db {
    /// Returns one schedule if it exists in the scope.
    pub async fn schedule(&self, scope: &Scope, id: &str) -> Result<Option<ScheduleView>, DbError> {
        one(&mut *self.pool.acquire().await?, scope, id).await
    }

    /// Lists schedules in the scope, newest first.
    pub async fn schedules(&self, scope: &Scope, filter: &ScheduleFilter) -> Result<Vec<ScheduleView>, DbError> {
        select(&mut *self.pool.acquire().await?, scope, None, filter).await
    }

    /// Lists the runs of a schedule, latest first.
    pub async fn schedule_runs(&self, id: &str, filter: &ScheduleRunFilter) -> Result<Vec<ScheduleRunView>, DbError> {
        Ok(sqlx::query_as!(
            ScheduleRunView,
            "SELECT due_at, at, result, times, deployment_id, error_code, error_message, error_text, asked_by FROM schedule_runs
             WHERE schedule_id = $1 AND ($2::timestamptz IS NULL OR due_at < $2) ORDER BY due_at DESC LIMIT $3",
            id,
            filter.before,
            filter.limit
        )
        .fetch_all(&self.pool)
        .await?)
    }
}

/// Reads one schedule within the caller's transaction.
pub async fn one(connection: &mut PgConnection, scope: &Scope, id: &str) -> Result<Option<ScheduleView>, DbError> {
    let filter = ScheduleFilter { limit: 1, ..ScheduleFilter::default() };
    Ok(select(connection, scope, Some(id), &filter).await?.pop())
}

async fn select(
    connection: &mut PgConnection,
    scope: &Scope,
    id: Option<&str>,
    filter: &ScheduleFilter,
) -> Result<Vec<ScheduleView>, DbError> {
    let (before_at, before_id) = filter.before.clone().unzip();
    Ok(sqlx::query_as!(
        ScheduleView,
        "SELECT s.id, name, cron, time_zone, github_connection_id, aws_connection_id, owner, repo, branch, build, reason, kind, labels AS \"labels: Json<Labels>\", concurrency, missed, paused,
                next_run_at, version, made_by, stopped_at, stopped_code, stopped_reason, stopped_text, created_at, updated_at, r.due_at AS \"last_due_at?\", r.at AS \"last_at?\",
                r.result AS \"last_result?\", r.times AS \"last_times?\", r.deployment_id AS \"last_deployment_id?\",
                r.error_code AS \"last_error_code?\", r.error_message AS \"last_error_message?\",
                r.error_text AS \"last_error_text?\", r.asked_by AS \"last_asked_by?\"
         FROM schedules s
         LEFT JOIN LATERAL (SELECT * FROM schedule_runs WHERE schedule_id = s.id ORDER BY due_at DESC LIMIT 1) r ON true
         WHERE deleted_at IS NULL AND in_scope(owner, repo, $1)
           AND ($2::text IS NULL OR s.id = $2)
           AND ($3::text IS NULL OR owner = $3)
           AND ($4::text IS NULL OR repo = $4)
           AND ($5::timestamptz IS NULL OR (created_at, s.id) < ($5, $6))
         ORDER BY created_at DESC, s.id DESC LIMIT $7",
        scope.sql(),
        id,
        filter.owner,
        filter.repo,
        before_at,
        before_id,
        filter.limit
    )
    .fetch_all(connection)
    .await?)
}
