//! `GET /api/v1/maintenance`: lists the retention rules with their last runs.

pub mod runs;

use axum::extract::State;
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use serde::Serialize;
use utoipa::ToSchema;

use crate::db::maintenance::MaintenanceRunView;
use crate::http::ApiState;
use crate::http::auth::{Admin, RequireRole};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;
use crate::http::time;

// ---- Response

/// List of all retention rules.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MaintenanceKinds {
    /// Rules, one for each kind of data.
    pub kinds: Vec<MaintenanceKind>,
}

/// Retention rule of one kind of data.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MaintenanceKind {
    /// Kind of data: `build_lines`, `events`, `deployments` (to the archive), `workspaces`, `images`, `runs`.
    #[schema(example = "build_lines")]
    pub kind: String,
    /// Retention after the end of the deployment: hours, days, or `never` when it is kept for ever; null where age does not matter.
    #[schema(example = "30d")]
    pub keep: Option<String>,
    /// Cron expression of the runs, in UTC.
    #[schema(example = "7 2 * * *")]
    pub cron: String,
    /// Time of the next run (UTC); null when the data is never removed.
    #[serde(serialize_with = "time::optional_millis")]
    pub next_run: Option<DateTime<Utc>>,
    /// Newest run of any replica.
    pub last_run: Option<MaintenanceRun>,
}

/// State and result of a maintenance run.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MaintenanceRun {
    /// Number of the run, increasing with each run of this installation.
    #[schema(example = 4711)]
    pub id: i64,
    /// Kind of data that the run removes.
    #[schema(example = "build_lines")]
    pub kind: String,
    /// Replica whose machine the run cleans; null for the database.
    #[schema(example = "panda-0/1")]
    pub place: Option<String>,
    /// True when the run only counts what it would remove.
    #[schema(example = false)]
    pub dry_run: bool,
    /// State: `requested`, `running`, `done`, `stopped` (its replica was shut down), `failed`, `interrupted` (its replica went silent). After the
    /// last three, the next run resumes the work.
    #[schema(example = "done")]
    pub state: String,
    /// Scheduled time of the run (UTC); null for a requested run.
    #[serde(serialize_with = "time::optional_millis")]
    pub due_at: Option<DateTime<Utc>>,
    /// Time of the request (UTC); null for a scheduled run.
    #[serde(serialize_with = "time::optional_millis")]
    pub requested_at: Option<DateTime<Utc>>,
    /// Caller who requested the run.
    #[schema(example = "alice")]
    pub requested_by: Option<String>,
    /// Replica that executed the run.
    #[schema(example = "panda-0/1")]
    pub replica: Option<String>,
    /// Time at which a replica claimed the run (RFC 3339, UTC); null before.
    #[serde(serialize_with = "time::optional_millis")]
    pub started_at: Option<DateTime<Utc>>,
    /// Cutoff: the run removes what ended before this time (UTC).
    #[serde(serialize_with = "time::optional_millis")]
    pub older_than: Option<DateTime<Utc>>,
    /// Time at which the run completed or failed (RFC 3339, UTC); null before.
    #[serde(serialize_with = "time::optional_millis")]
    pub ended_at: Option<DateTime<Utc>>,
    /// Number of removed items so far, or of those to remove: events, deployments, folders, images, records.
    #[schema(example = 120_000)]
    pub removed: i64,
    /// Cause of a failure; null when there was none.
    pub error: Option<String>,
}

impl From<MaintenanceRunView> for MaintenanceRun {
    fn from(row: MaintenanceRunView) -> Self {
        Self {
            id: row.id,
            kind: row.kind,
            place: Some(row.place).filter(|place| !place.is_empty()),
            dry_run: row.dry_run,
            state: row.state,
            due_at: row.due_at,
            requested_at: row.requested_at,
            requested_by: row.requested_by,
            replica: row.replica,
            started_at: row.started_at,
            older_than: row.older_than,
            ended_at: row.ended_at,
            removed: row.removed,
            error: row.error,
        }
    }
}

// ---- Handler

/// List the retention rules
///
/// Returns each kind of data with its retention, cron expression and newest run. Requires the role admin.
#[utoipa::path(
    get, path = "/api/v1/maintenance", tag = "maintenance", operation_id = "maintenance",
    responses(
        (status = 200, description = "All retention rules.", body = Envelope<MaintenanceKinds>),
        (status = 403, description = "The caller is not an admin.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { .. }: RequireRole<Admin>,
) -> Result<Envelope<MaintenanceKinds>, ApiError> {
    let mut last = state.db.last_maintenance().await?;
    let now = Utc::now();
    let kinds = state.retention.iter().map(|rule| MaintenanceKind {
        kind: rule.kind.to_string(),
        keep: rule.keep.map(|keep| keep.to_string()),
        cron: rule.cron.to_string(),
        next_run: rule.cron.next_after(now, Tz::UTC).filter(|_| !rule.is_never()),
        last_run: last.extract_if(.., |run| run.kind == rule.kind.as_str()).next().map(MaintenanceRun::from),
    });
    Ok(Envelope::new("보존 정책 조회 성공", MaintenanceKinds { kinds: kinds.collect() }))
}
