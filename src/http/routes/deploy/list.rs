//! `GET /api/v1/deploy`: deployments, newest first, in pages.

use std::collections::BTreeMap;

use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::requested::{RequestedView, branch_of};
use crate::db::deployments::{DeploymentView, ListFilter};
use crate::domain::deployment::Status;
use crate::domain::validate;
use crate::http::ApiState;
use crate::http::auth::{RequireRole, Viewer};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;
use crate::http::extract::QueryParams;
use crate::http::pagination::{decode_cursor, encode_cursor, name_filter, parse_limit, parse_time, split_page};
use crate::http::time;

// ---- Request

/// Filters of the list; a deployment must match all of them.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// Only these statuses, separated by commas: `RUNNING`, `DEPLOYMENT_READY`, `COMPLETED`, `FAILED`.
    #[param(example = "RUNNING,DEPLOYMENT_READY")]
    pub status: Option<String>,
    /// Only this account or organisation, ignoring case.
    #[param(example = "acme")]
    pub owner: Option<String>,
    /// Only this repository, ignoring case.
    #[param(example = "shop")]
    pub repo: Option<String>,
    /// Only this branch, in exact case.
    #[param(example = "main")]
    pub branch: Option<String>,
    /// Started at or after this time (RFC 3339).
    #[param(example = "2026-01-01T00:00:00Z")]
    pub since: Option<String>,
    /// Started before this time (RFC 3339).
    #[param(example = "2027-01-01T00:00:00Z")]
    pub until: Option<String>,
    /// Maximum number of rows, 1 to 100; 20 when absent.
    #[param(example = 20, minimum = 1, maximum = 100, value_type = Option<i64>)]
    pub limit: Option<String>,
    /// The `nextCursor` of the previous page.
    #[param(example = "MjAyNi0wMS0zMVQwOTozMDowMC4xMjM0NTZaIGRlcF94")]
    pub cursor: Option<String>,
}

impl ListQuery {
    fn filter(self) -> Result<ListFilter, ApiError> {
        Ok(ListFilter {
            statuses: statuses(self.status.as_deref())?,
            owner: name_filter("owner", self.owner, validate::owner)?,
            repo: name_filter("repo", self.repo, validate::repo)?,
            branch: name_filter("branch", self.branch, validate::branch)?,
            since: parse_time("since", self.since.as_deref())?,
            until: parse_time("until", self.until.as_deref())?,
            before: self.cursor.as_deref().map(decode_cursor).transpose()?,
            limit: parse_limit(self.limit.as_deref())?,
        })
    }
}

/// Parses a comma-separated list of statuses; empty, meaning all, when absent.
pub fn statuses(text: Option<&str>) -> Result<Vec<Status>, ApiError> {
    text.map_or(Ok(Vec::new()), |text| text.split(',').map(str::parse).collect())
        .map_err(|rule| ApiError::field("status", rule))
}

// ---- Response

/// One page of the list of deployments.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeploymentPage {
    /// Matching deployments, newest first.
    pub deployments: Vec<DeploymentItem>,
    /// Value of `cursor` for the next page; null on the last page.
    #[schema(example = "MjAyNi0wMS0zMVQwOTozMDowMC4xMjM0NTZaIGRlcF94")]
    pub next_cursor: Option<String>,
}

/// Summary of a deployment; its `result` has all facts.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeploymentItem {
    /// Id to use in paths: `/api/v1/deploy/{id}/…`.
    #[schema(example = "dep_4k1zq0v7w3m9x2c8b5n6")]
    pub deployment_id: String,
    /// `RUNNING`, `DEPLOYMENT_READY`, `COMPLETED` or `FAILED`.
    #[schema(example = "COMPLETED")]
    pub status: String,
    /// Account or organisation of the source.
    #[schema(example = "acme")]
    pub owner: String,
    /// GitHub repository of the source, without its owner.
    #[schema(example = "shop")]
    pub repo: String,
    /// Branch; null when a commit, a tag or an image was requested.
    #[schema(example = "main")]
    pub branch: Option<String>,
    /// Requested source and build options.
    pub requested: RequestedView,
    /// Id of the built commit; null before the clone.
    #[schema(example = "9fceb02d0ae598e95dc970b74767f19372d61af8")]
    pub commit_sha: Option<String>,
    /// Name of the commit's author, at most 100 characters and without an e-mail address; null before the clone.
    #[schema(example = "Kim Panda")]
    pub commit_author: Option<String>,
    /// First line of the commit's message, at most 200 characters; null before the clone.
    #[schema(example = "Show the cart's total with tax")]
    pub commit_subject: Option<String>,
    /// Labels of the policy with which the attempt started, and of the request.
    #[schema(example = json!({"team": "payments", "environment": "production"}))]
    pub labels: BTreeMap<String, String>,
    /// Time at which the deployment was requested (RFC 3339, UTC); a retry does not change it.
    #[serde(serialize_with = "time::millis")]
    pub started_at: DateTime<Utc>,
    /// Time at which it became COMPLETED or FAILED (UTC); null before.
    #[serde(serialize_with = "time::optional_millis")]
    pub completed_at: Option<DateTime<Utc>>,
    /// Duration from start to end, or until now, in whole seconds.
    #[schema(example = 312)]
    pub duration_seconds: i64,
    /// Stable code of the failure; null unless FAILED.
    #[schema(example = "BUILD_FAILED")]
    pub error_code: Option<String>,
    /// Number of the attempt: 1, plus 1 for each retry.
    #[schema(example = 1)]
    pub attempt: i32,
    /// Position in the target's queue, from 1; null when it is not queued.
    #[schema(example = 1)]
    pub queue_position: Option<i64>,
    /// Id of the schedule that started it, at a scheduled time or on request; null when none did.
    #[schema(example = "sch_4k1zq0v7w3m9x2c8b5n6")]
    pub schedule_id: Option<String>,
    /// Id of the deployment that this one rolls back; null for any other deployment.
    #[schema(example = "dep_7m3x9c2v5b8n1k4j6h0g")]
    pub caused_by: Option<String>,
}

impl From<DeploymentView> for DeploymentItem {
    fn from(row: DeploymentView) -> Self {
        Self {
            duration_seconds: super::result::whole_seconds(row.duration_seconds),
            deployment_id: row.id,
            status: row.status,
            owner: row.owner,
            repo: row.repo,
            branch: branch_of(&row.branch),
            requested: RequestedView::new(&row.branch, None, row.reason, row.kind),
            commit_sha: row.facts.commit_sha,
            commit_author: row.facts.commit_author,
            commit_subject: row.facts.commit_subject,
            labels: row.labels.0.0,
            started_at: row.started_at,
            completed_at: row.completed_at,
            error_code: row.error_code,
            attempt: row.attempt,
            queue_position: row.queue_position,
            schedule_id: row.schedule_id,
            caused_by: row.caused_by,
        }
    }
}

// ---- Handler

/// List deployments, newest first
#[utoipa::path(
    get, path = "/api/v1/deploy", tag = "deployments", operation_id = "listDeployments",
    params(ListQuery),
    responses(
        (status = 200, description = "One page, newest first.", body = Envelope<DeploymentPage>),
        (status = 400, description = "Invalid parameter, named by `field`.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { caller, .. }: RequireRole<Viewer>,
    QueryParams(query): QueryParams<ListQuery>,
) -> Result<Envelope<DeploymentPage>, ApiError> {
    let mut filter = query.filter()?;
    let wanted = filter.limit;
    // The extra row shows that another page exists.
    filter.limit += 1;
    let rows = state.db.list_deployments(caller.scope(), &filter).await?;
    let (rows, next_cursor) = split_page(rows, wanted, |row| encode_cursor(row.started_at, &row.id));
    let deployments = rows.into_iter().map(DeploymentItem::from).collect();
    Ok(Envelope::new("배포 목록 조회 성공", DeploymentPage { deployments, next_cursor }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invalid_field(query: ListQuery) -> String {
        query.filter().unwrap_err().problem().field.unwrap()
    }

    #[test]
    fn names_invalid_filter() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(invalid_field(ListQuery { status: some("running"), ..ListQuery::default() }), "status");
        assert_eq!(invalid_field(ListQuery { owner: some("a/b"), ..ListQuery::default() }), "owner");
        assert_eq!(invalid_field(ListQuery { branch: some("\0"), ..ListQuery::default() }), "branch");
        assert_eq!(invalid_field(ListQuery { since: some("yesterday"), ..ListQuery::default() }), "since");
        assert_eq!(invalid_field(ListQuery { limit: some("101"), ..ListQuery::default() }), "limit");
        assert_eq!(invalid_field(ListQuery { limit: some("0"), ..ListQuery::default() }), "limit");
        assert_eq!(invalid_field(ListQuery { cursor: some("!"), ..ListQuery::default() }), "cursor");
    }

    #[test]
    fn splits_statuses_at_commas() {
        let query = ListQuery { status: Some("RUNNING,FAILED".to_owned()), ..ListQuery::default() };
        assert_eq!(query.filter().unwrap().statuses, [Status::Running, Status::Failed]);
    }
}
