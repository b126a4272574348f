//! `GET /api/v1/deploy`: deployments, newest first, in pages.

use axum::extract::State;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::what::{RequestedView, branch};
use crate::db::deployments::{DeploymentView, ListFilter};
use crate::domain::deployment::Status;
use crate::domain::validate;
use crate::http::ApiState;
use crate::http::auth::{Allowed, Viewer};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::extract::{QueryParams, is_id};
use crate::http::problem::Problem;

/// Rows of a page, when nothing else is asked for.
const DEFAULT_LIMIT: i64 = 20;

/// Most rows of a page.
const MAX_LIMIT: i64 = 100;

// ---- What it takes

/// Which deployments. All filters must hold.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// Only these statuses, separated by commas: `RUNNING`, `DEPLOYMENT_READY`, `COMPLETED`, `FAILED`.
    #[param(example = "RUNNING,DEPLOYMENT_READY")]
    pub status: Option<String>,
    /// Only this account or organisation, in any case.
    #[param(example = "acme")]
    pub owner: Option<String>,
    /// Only this repository, in any case.
    #[param(example = "shop")]
    pub repo: Option<String>,
    /// Only this branch.
    #[param(example = "main")]
    pub branch: Option<String>,
    /// Started at or after this time (RFC 3339).
    #[param(example = "2026-01-01T00:00:00Z")]
    pub since: Option<String>,
    /// Started before this time (RFC 3339).
    #[param(example = "2027-01-01T00:00:00Z")]
    pub until: Option<String>,
    /// Rows of the page, 1 to 100; 20 when absent.
    #[param(example = 20, minimum = 1, maximum = 100, value_type = Option<i64>)]
    pub limit: Option<String>,
    /// The `nextCursor` of the page before.
    #[param(example = "MjAyNi0wMS0zMVQwOTozMDowMC4xMjM0NTZaIGRlcF94")]
    pub cursor: Option<String>,
}

impl ListQuery {
    fn filter(self) -> Result<ListFilter, ApiError> {
        Ok(ListFilter {
            statuses: statuses(self.status.as_deref())?,
            owner: named("owner", self.owner, validate::owner)?,
            repo: named("repo", self.repo, validate::repo)?,
            branch: named("branch", self.branch, validate::branch)?,
            since: time("since", self.since.as_deref())?,
            until: time("until", self.until.as_deref())?,
            before: self.cursor.as_deref().map(read_cursor).transpose()?,
            limit: limit(self.limit.as_deref())?,
        })
    }
}

/// Statuses, separated by commas; none for all.
pub fn statuses(text: Option<&str>) -> Result<Vec<Status>, ApiError> {
    text.map_or(Ok(Vec::new()), |text| text.split(',').map(str::parse).collect())
        .map_err(|rule: String| ApiError::field("status", rule))
}

/// A filter by name, which must be one that can exist.
pub fn named(
    field: &'static str,
    value: Option<String>,
    rule: fn(&str) -> Result<(), String>,
) -> Result<Option<String>, ApiError> {
    match value {
        Some(value) => rule(&value).map(|()| Some(value)).map_err(|rule| ApiError::field(field, rule)),
        None => Ok(None),
    }
}

/// A time; none when it was not given.
pub fn time(field: &str, text: Option<&str>) -> Result<Option<DateTime<Utc>>, ApiError> {
    text.map(|text| {
        DateTime::parse_from_rfc3339(text).map(|time| time.to_utc()).map_err(|_| {
            ApiError::field(field, "must be a time such as 2026-01-31T09:30:00Z (RFC 3339; write + as %2B)")
        })
    })
    .transpose()
}

/// Rows of a page.
pub fn limit(text: Option<&str>) -> Result<i64, ApiError> {
    let Some(text) = text else { return Ok(DEFAULT_LIMIT) };
    text.parse()
        .ok()
        .filter(|limit| (1..=MAX_LIMIT).contains(limit))
        .ok_or_else(|| ApiError::field("limit", format!("must be a whole number from 1 to {MAX_LIMIT}")))
}

/// The rows of a page, of which one more than `wanted` was asked for, and the cursor of the next page.
pub fn page<T>(mut rows: Vec<T>, wanted: i64, cursor: impl Fn(&T) -> String) -> (Vec<T>, Option<String>) {
    let more = rows.len() > usize::try_from(wanted).unwrap_or(usize::MAX);
    if more {
        rows.pop();
    }
    let next = rows.last().filter(|_| more).map(cursor);
    (rows, next)
}

/// The last row of a page: its time to the microsecond, as Postgres keeps it, and its id.
pub fn cursor(at: DateTime<Utc>, id: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!("{} {id}", at.to_rfc3339_opts(SecondsFormat::Micros, true)))
}

/// What [`cursor`] made.
pub fn read_cursor(text: &str) -> Result<(DateTime<Utc>, String), ApiError> {
    let read = || {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        let (time, id) = text.split_once(' ')?;
        let time = DateTime::parse_from_rfc3339(time).ok()?.to_utc();
        is_id(id).then(|| (time, id.to_owned()))
    };
    read().ok_or_else(|| ApiError::field("cursor", "must be the nextCursor of a page before, unchanged"))
}

// ---- What it answers

/// One page.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeploymentPage {
    /// The deployments, newest first.
    pub deployments: Vec<DeploymentItem>,
    /// Give it as `cursor` for the next page; null on the last one.
    #[schema(example = "MjAyNi0wMS0zMVQwOTozMDowMC4xMjM0NTZaIGRlcF94")]
    pub next_cursor: Option<String>,
}

/// A deployment in short; its `result` has everything.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeploymentItem {
    /// Id.
    #[schema(example = "dep_4k1zq0v7w3m9x2c8b5n6")]
    pub deployment_id: String,
    /// `RUNNING`, `DEPLOYMENT_READY`, `COMPLETED` or `FAILED`.
    #[schema(example = "COMPLETED")]
    pub status: String,
    /// Account or organisation of the source.
    #[schema(example = "acme")]
    pub owner: String,
    /// Repository of the source.
    #[schema(example = "shop")]
    pub repo: String,
    /// Branch; null when a commit, a tag or an image was asked for.
    #[schema(example = "main")]
    pub branch: Option<String>,
    /// What was asked for.
    pub requested: RequestedView,
    /// Commit that was built; null before the clone.
    #[schema(example = "9fceb02d0ae598e95dc970b74767f19372d61af8")]
    pub commit_sha: Option<String>,
    /// When it started (UTC).
    pub started_at: DateTime<Utc>,
    /// When it became COMPLETED or FAILED (UTC); null before.
    pub completed_at: Option<DateTime<Utc>>,
    /// Whole seconds from start to end, or until now.
    #[schema(example = 312)]
    pub duration_seconds: i64,
    /// Why it failed; null unless FAILED.
    #[schema(example = "BUILD_FAILED")]
    pub error_code: Option<String>,
    /// 1, and one more for each retry.
    #[schema(example = 1)]
    pub attempt: i32,
    /// Its place in the queue of its target, from 1; null when it does not wait for its turn.
    #[schema(example = 1)]
    pub queue_position: Option<i64>,
    /// The schedule that started it, by the clock or out of turn; null when there was none.
    #[schema(example = "sch_4k1zq0v7w3m9x2c8b5n6")]
    pub schedule_id: Option<String>,
}

impl From<DeploymentView> for DeploymentItem {
    fn from(row: DeploymentView) -> Self {
        Self {
            duration_seconds: super::result::whole_seconds(row.duration_seconds),
            deployment_id: row.id,
            status: row.status,
            owner: row.owner,
            repo: row.repo,
            branch: branch(&row.branch),
            requested: RequestedView::new(&row.branch, None, row.reason, row.kind),
            commit_sha: row.commit_sha,
            started_at: row.started_at,
            completed_at: row.completed_at,
            error_code: row.error_code,
            attempt: row.attempt,
            queue_position: row.queue_position,
            schedule_id: row.schedule_id,
        }
    }
}

// ---- The handler

/// List deployments
#[utoipa::path(
    get, path = "/api/v1/deploy", tag = "deployments", operation_id = "listDeployments",
    params(ListQuery),
    responses(
        (status = 200, description = "One page, newest first.", body = Envelope<DeploymentPage>),
        (status = 400, description = "A parameter is not valid: `field` names it.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<Viewer>,
    QueryParams(query): QueryParams<ListQuery>,
) -> Result<Envelope<DeploymentPage>, ApiError> {
    let mut filter = query.filter()?;
    let wanted = filter.limit;
    // One more than wanted tells whether there is another page.
    filter.limit += 1;
    let rows = state.db.list_deployments(caller.scope(), &filter).await?;
    let (rows, next_cursor) = page(rows, wanted, |row| cursor(row.started_at, &row.id));
    let deployments = rows.into_iter().map(DeploymentItem::from).collect();
    Ok(Envelope::new("배포 목록 조회 성공", DeploymentPage { deployments, next_cursor }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(query: ListQuery) -> String {
        query.filter().unwrap_err().problem().field.unwrap()
    }

    #[test]
    fn each_filter_that_cannot_be_is_named() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(refused(ListQuery { status: some("running"), ..ListQuery::default() }), "status");
        assert_eq!(refused(ListQuery { owner: some("a/b"), ..ListQuery::default() }), "owner");
        assert_eq!(refused(ListQuery { branch: some("\0"), ..ListQuery::default() }), "branch");
        assert_eq!(refused(ListQuery { since: some("yesterday"), ..ListQuery::default() }), "since");
        assert_eq!(refused(ListQuery { limit: some("101"), ..ListQuery::default() }), "limit");
        assert_eq!(refused(ListQuery { limit: some("0"), ..ListQuery::default() }), "limit");
        assert_eq!(refused(ListQuery { cursor: some("!"), ..ListQuery::default() }), "cursor");
    }

    #[test]
    fn several_statuses_are_separated_by_commas() {
        let query = ListQuery { status: Some("RUNNING,FAILED".to_owned()), ..ListQuery::default() };
        assert_eq!(query.filter().unwrap().statuses, [Status::Running, Status::Failed]);
    }
}
