//! `GET /api/v1/maintenance/runs`: runs of maintenance, newest first, in pages.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::MaintenanceRun;
use crate::db::maintenance::RunFilter;
use crate::http::ApiState;
use crate::http::auth::{Admin, Allowed};
use crate::http::deploy::list::limit;
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::extract::QueryParams;
use crate::http::problem::Problem;

// ---- What it takes

/// Which runs.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RunsQuery {
    /// Only this kind: `build_lines`, `events`, `deployments`, `workspaces`, `images`, `runs`.
    #[param(example = "events")]
    pub kind: Option<String>,
    /// Only the runs with these numbers, separated by commas.
    #[param(example = "4711,4712")]
    pub id: Option<String>,
    /// Rows of the page, 1 to 100; 20 when absent.
    #[param(example = 20, minimum = 1, maximum = 100, value_type = Option<i64>)]
    pub limit: Option<String>,
    /// The `nextCursor` of the page before.
    #[param(example = "4711")]
    pub cursor: Option<String>,
}

impl RunsQuery {
    fn filter(self) -> Result<RunFilter, ApiError> {
        let kind = self.kind.as_deref().map(str::parse).transpose();
        let ids = self.id.as_deref().map(|ids| ids.split(',').map(str::parse).collect::<Result<Vec<i64>, _>>());
        let before = self.cursor.as_deref().map(str::parse).transpose();
        Ok(RunFilter {
            kind: kind.map_err(|rule: String| ApiError::field("kind", rule))?,
            ids: ids.transpose().map_err(|_| ApiError::field("id", "must be numbers of runs, such as 4711,4712"))?,
            before: before
                .map_err(|_| ApiError::field("cursor", "must be the nextCursor of a page before, unchanged"))?,
            limit: limit(self.limit.as_deref())?,
        })
    }
}

// ---- What it answers

/// One page.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MaintenanceRuns {
    /// The runs, newest first.
    pub runs: Vec<MaintenanceRun>,
    /// Give it as `cursor` for the next page; null on the last one.
    #[schema(example = "4711")]
    pub next_cursor: Option<String>,
}

// ---- The handler

/// Runs of maintenance
///
/// What was removed, when, and by which replica. For admins.
#[utoipa::path(
    get, path = "/api/v1/maintenance/runs", tag = "maintenance", operation_id = "maintenanceRuns",
    params(RunsQuery),
    responses(
        (status = 200, description = "One page, newest first.", body = Envelope<MaintenanceRuns>),
        (status = 400, description = "A parameter is not valid: `field` names it.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The caller is no admin.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    Allowed { .. }: Allowed<Admin>,
    QueryParams(query): QueryParams<RunsQuery>,
) -> Result<Envelope<MaintenanceRuns>, ApiError> {
    let mut filter = query.filter()?;
    let wanted = filter.limit;
    // One more than wanted tells whether there is another page.
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
