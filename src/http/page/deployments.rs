//! `GET /`: what is live in each target, and all deployments, newest first.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;

use super::context::{Page, Visitor, render};
use super::format::beginning_of_query;
use super::freezes::row::FreezeNotice;
use crate::db::deployments::targets::LiveTarget;
use crate::db::deployments::{DeploymentView, ListFilter};
use crate::domain::source::Source;
use crate::domain::validate;
use crate::http::ApiState;
use crate::http::error::ApiError;
use crate::http::extract::QueryParams;
use crate::http::pagination::{decode_cursor, encode_cursor, name_filter, split_page};
use crate::http::routes::deploy::freeze::HeldBy;
use crate::http::routes::deploy::list::statuses;

/// Largest number of deployments on one page of the list.
const PAGE_ROWS: i64 = 50;

/// Newest rows that a search looks at.
const SEARCHED_ROWS: i64 = 500;

/// Largest number of targets on a page.
const MAX_TARGETS: i64 = 60;

/// Filters in the address. An empty one, as forms send it, is none.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Filter {
    /// Part of a repository, branch, commit, id, reason or name of a starter, ignoring case.
    q: String,
    status: String,
    owner: String,
    repo: String,
    branch: String,
    cursor: String,
}

impl Filter {
    fn list(&self) -> Result<ListFilter, ApiError> {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Ok(ListFilter {
            statuses: statuses(some(&self.status).as_deref())?,
            owner: name_filter("owner", some(&self.owner), validate::owner)?,
            repo: name_filter("repo", some(&self.repo), validate::repo)?,
            branch: name_filter("branch", some(&self.branch), validate::branch)?,
            before: some(&self.cursor).as_deref().map(decode_cursor).transpose()?,
            limit: if self.q.trim().is_empty() { PAGE_ROWS } else { SEARCHED_ROWS },
            ..ListFilter::default()
        })
    }

    fn narrows(&self) -> bool {
        self.narrows_repository() || !self.q.is_empty() || !self.status.is_empty()
    }

    fn narrows_repository(&self) -> bool {
        [&self.owner, &self.repo, &self.branch].iter().any(|text| !text.is_empty())
    }

    fn repository(&self) -> String {
        let parts = [&self.owner, &self.repo, &self.branch];
        parts.into_iter().filter(|text| !text.is_empty()).cloned().collect::<Vec<_>>().join("/")
    }

    /// The filters without the cursor, as the beginning of a query.
    fn query(&self) -> String {
        let pairs = [
            ("q", &self.q),
            ("status", &self.status),
            ("owner", &self.owner),
            ("repo", &self.repo),
            ("branch", &self.branch),
        ];
        beginning_of_query(&pairs)
    }
}

/// A row of the list.
struct Row {
    id: String,
    status: String,
    owner: String,
    repo: String,
    /// Branch, or what else was requested.
    source: String,
    commit_sha: Option<String>,
    kind: String,
    attempt: i32,
    queue_position: Option<i64>,
    step: String,
    error_code: Option<String>,
    reason: Option<String>,
    started_by: Option<String>,
    started_at: chrono::DateTime<chrono::Utc>,
    duration_seconds: f64,
    /// The freeze or window that holds its start or its switch.
    held_by: Option<HeldBy>,
}

impl From<DeploymentView> for Row {
    fn from(row: DeploymentView) -> Self {
        Self {
            source: source_text(&row.branch),
            id: row.id,
            status: row.status,
            owner: row.owner,
            repo: row.repo,
            commit_sha: row.facts.commit_sha,
            kind: row.kind,
            attempt: row.attempt,
            queue_position: row.queue_position,
            step: row.step,
            error_code: row.error_code,
            reason: row.reason,
            started_by: row.started_by,
            started_at: row.started_at,
            duration_seconds: row.duration_seconds,
            held_by: None,
        }
    }
}

impl Row {
    /// True when one of the texts that people search for contains `needle`, which is in lower case.
    fn matches(&self, needle: &str) -> bool {
        let repository = format!("{}/{}", self.owner, self.repo);
        let optional = [&self.commit_sha, &self.error_code, &self.reason, &self.started_by];
        let texts = [&repository, &self.source, &self.id].into_iter().chain(optional.into_iter().flatten());
        texts.into_iter().any(|text| text.to_lowercase().contains(needle))
    }
}

/// The requested source for people: a branch or tag by its name, a commit or image by the beginning of its id.
pub fn source_text(column: &str) -> String {
    let source = Source::of_column(column);
    let shown = match source.kind() {
        "commit" => 7,
        "image" => "sha256:".len() + 12,
        _ => usize::MAX,
    };
    source.name().chars().take(shown).collect()
}

#[derive(Template)]
#[template(path = "deployments.html")]
struct DeploymentsView {
    page: Page,
    filter: Filter,
    notice: FreezeNotice,
    targets: Vec<LiveTarget>,
    rows: Vec<Row>,
    next_cursor: Option<String>,
}

/// Reads the list and, without filters, the targets.
pub async fn handle(
    State(state): State<ApiState>,
    Visitor { page, caller }: Visitor,
    QueryParams(filter): QueryParams<Filter>,
) -> Result<Response, ApiError> {
    let mut list = filter.list()?;
    let wanted = list.limit;
    list.limit += 1;
    let rows = state.db.list_deployments(caller.scope(), &list).await?;
    let (rows, next_cursor) = split_page(rows, wanted, |row| encode_cursor(row.started_at, &row.id));
    let needle = filter.q.trim().to_lowercase();
    let held = HeldBy::of_all(&state, &rows).await?;
    let rows = rows.into_iter().zip(held).map(|(row, held_by)| Row { held_by, ..Row::from(row) });
    let rows = rows.filter(|row| needle.is_empty() || row.matches(&needle)).collect();
    let notice = FreezeNotice::read(&state, &page, &caller).await?;
    // The cards describe the whole scope, so they belong to the first, unfiltered page.
    let is_first = filter.cursor.is_empty() && !filter.narrows();
    let targets = if is_first { state.db.live_targets(caller.scope(), MAX_TARGETS).await? } else { Vec::new() };
    render(&page.clone(), &DeploymentsView { page, filter, notice, targets, rows, next_cursor })
}
