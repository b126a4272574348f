//! `GET /api/v1/maintenance/runs`: lists maintenance runs, newest first, in pages.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::db::maintenance::MaintenanceRunFilter;
use crate::domain::message::message;
use crate::http::ApiState;
use crate::http::auth::{Admin, RequireRole};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;
use crate::http::extract::QueryParams;
use crate::http::pagination::parse_limit;
use crate::http::routes::maintenance::MaintenanceRun;

// ---- Request

/// Filters of the list; a run must match all of them.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct MaintenanceRunsQuery {
    /// Only runs of this kind: `build_lines`, `events`, `deployments`, `workspaces`, `images`, `runs`.
    #[param(example = "events")]
    pub kind: Option<String>,
    /// Only runs with these numbers, separated by commas.
    #[param(example = "4711,4712")]
    pub id: Option<String>,
    /// Maximum number of rows, 1 to 100; 20 when absent.
    #[param(example = 20, minimum = 1, maximum = 100, value_type = Option<i64>)]
    pub limit: Option<String>,
    /// The `nextCursor` of the previous page.
    #[param(example = "4711")]
    pub cursor: Option<String>,
}

impl MaintenanceRunsQuery {
    fn filter(self) -> Result<MaintenanceRunFilter, ApiError> {
        let kind = self.kind.as_deref().map(str::parse).transpose();
        let ids = self.id.as_deref().map(|ids| ids.split(',').map(str::parse).collect::<Result<Vec<i64>, _>>());
        let before = self.cursor.as_deref().map(str::parse).transpose();
        Ok(MaintenanceRunFilter {
            kind: kind.map_err(|rule| ApiError::field("kind", rule))?,
            ids: ids.transpose().map_err(|_| ApiError::field("id", message!("rule.run_ids")))?,
            before: before.map_err(|_| ApiError::field("cursor", message!("rule.cursor")))?,
            limit: parse_limit(self.limit.as_deref())?,
        })
    }
}

// ---- Response

/// One page of the list of maintenance runs.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MaintenanceRuns {
    /// Matching runs, newest first.
    pub runs: Vec<MaintenanceRun>,
    /// Value of `cursor` for the next page; null on the last page.
    #[schema(example = "4711")]
    pub next_cursor: Option<String>,
}

// ---- Handler

/// List maintenance runs
///
/// Returns what was removed, when, and by which replica. Requires the role admin.
#[utoipa::path(
    get, path = "/api/v1/maintenance/runs", tag = "maintenance", operation_id = "maintenanceRuns",
    params(MaintenanceRunsQuery),
    responses(
        (status = 200, description = "One page, newest first.", body = Envelope<MaintenanceRuns>),
        (status = 400, description = "Invalid parameter, named by `field`.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The caller is not an admin.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { .. }: RequireRole<Admin>,
    QueryParams(query): QueryParams<MaintenanceRunsQuery>,
) -> Result<Envelope<MaintenanceRuns>, ApiError> {
    let mut filter = query.filter()?;
    let wanted = filter.limit;
    // The extra row shows that another page exists.
    filter.limit += 1;
    let mut rows = state.db.maintenance_runs(&filter).await?;
    let more = rows.len() > usize::try_from(wanted).unwrap_or(usize::MAX);
    if more {
        rows.pop();
    }
    let next_cursor = rows.last().filter(|_| more).map(|row| row.id.to_string());
    let runs = rows.into_iter().map(MaintenanceRun::from).collect();
    Ok(Envelope::new("보존 작업 조회 성공", MaintenanceRuns { runs, next_cursor }))
}
