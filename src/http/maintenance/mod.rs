//! `GET /api/v1/maintenance`: what is removed with time, and how the last runs went.

pub mod list;
pub mod start;

use axum::extract::State;
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use serde::Serialize;
use utoipa::ToSchema;

use super::ApiState;
use super::auth::{Admin, Allowed};
use super::envelope::Envelope;
use super::error::ApiError;
use super::problem::Problem;
use crate::db::maintenance::RunView;

// ---- What it answers

/// All kinds.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MaintenanceKinds {
    /// One for each kind.
    pub kinds: Vec<MaintenanceKind>,
}

/// What is removed, and when.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MaintenanceKind {
    /// `build_lines`, `events`, `deployments` (to the archive), `workspaces`, `images`, `runs`.
    #[schema(example = "build_lines")]
    pub kind: String,
    /// How long it is kept after its end: hours, days, or `never` when it is never removed; null where age does not matter.
    #[schema(example = "30d")]
    pub keep: Option<String>,
    /// When it is looked for: a cron expression in UTC.
    #[schema(example = "7 2 * * *")]
    pub cron: String,
    /// When it is looked for next (UTC); null when it is never removed.
    pub next_run: Option<DateTime<Utc>>,
    /// The newest run, of whichever replica.
    pub last_run: Option<MaintenanceRun>,
}

/// One run.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MaintenanceRun {
    /// Its number.
    #[schema(example = 4711)]
    pub id: i64,
    /// What it removes.
    #[schema(example = "build_lines")]
    pub kind: String,
    /// The replica whose machine it is about; null when it is about the database.
    #[schema(example = "panda-0/1")]
    pub place: Option<String>,
    /// Whether it only counts.
    #[schema(example = false)]
    pub dry_run: bool,
    /// `requested`, `running`, `done`, `stopped` (its replica was shut down), `failed`, `interrupted` (its replica went silent). After the
    /// last three the next run goes on.
    #[schema(example = "done")]
    pub state: String,
    /// The tick of the cron expression that it was for (UTC); null when somebody asked for it.
    pub due_at: Option<DateTime<Utc>>,
    /// When somebody asked for it (UTC).
    pub requested_at: Option<DateTime<Utc>>,
    /// Who asked for it.
    #[schema(example = "alice")]
    pub requested_by: Option<String>,
    /// The process that ran it.
    #[schema(example = "panda-0/1")]
    pub replica: Option<String>,
    /// When it began (UTC).
    pub started_at: Option<DateTime<Utc>>,
    /// What ended before this is removed (UTC).
    pub older_than: Option<DateTime<Utc>>,
    /// When it ended (UTC).
    pub ended_at: Option<DateTime<Utc>>,
    /// What it removed so far, or would have: events, deployments, folders, images, records.
    #[schema(example = 120_000)]
    pub removed: i64,
    /// Why it failed.
    pub error: Option<String>,
}

impl From<RunView> for MaintenanceRun {
    fn from(row: RunView) -> Self {
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

// ---- The handler

/// What is removed with time
///
/// Each kind with its age, when it is looked for, and its newest run. For admins.
#[utoipa::path(
    get, path = "/api/v1/maintenance", tag = "maintenance", operation_id = "maintenance",
    responses(
        (status = 200, description = "All kinds.", body = Envelope<MaintenanceKinds>),
        (status = 403, description = "The caller is no admin.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    Allowed { .. }: Allowed<Admin>,
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
