//! `GET /policies`: the policy in force of each repository and target, and the connected repositories without one.

mod gates;
mod rule_text;
mod rules;
pub mod show;

use std::collections::BTreeSet;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, Utc};
use url::form_urlencoded::byte_serialize;

use self::rule_text::RuleText;
use self::rules::rules;
use super::context::{Page, Visitor, render};
use crate::db::policies::{PolicyTarget, PolicyVersion, TargetPolicy};
use crate::http::ApiState;
use crate::http::error::ApiError;

/// Largest number of policies that the view shows.
const MAX_POLICIES: i64 = 100;

/// Repository, and account and region unless it is for all targets, with the address of its view.
pub struct TargetLink {
    pub repository: String,
    /// Account and region; none for all targets of the repository without a policy.
    pub place: Option<String>,
    /// Path of the view.
    pub path: String,
}

impl TargetLink {
    fn of(target: &PolicyTarget) -> Self {
        let PolicyTarget { owner, repo, account_id, region } = target;
        let part = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
        let mut path = format!("/policies/{}/{}", part(owner), part(repo));
        if !account_id.is_empty() {
            path = format!("{path}?accountId={}&region={}", part(account_id), part(region));
        }
        let place = (!account_id.is_empty()).then(|| format!("{account_id} · {region}"));
        Self { repository: format!("{owner}/{repo}"), place, path }
    }
}

/// A version of a policy as templates show it.
pub struct VersionRow {
    pub version: i32,
    pub created_by: String,
    pub created_at: DateTime<Utc>,
    /// The rules in words; empty if it restricts nothing.
    pub rules: Vec<RuleText>,
}

struct PolicyRow {
    link: TargetLink,
    newest: VersionRow,
}

#[derive(Template)]
#[template(path = "policies.html")]
struct PoliciesView {
    page: Page,
    rows: Vec<PolicyRow>,
    has_more: bool,
    /// Connected repositories for which no policy is stored.
    without: Vec<TargetLink>,
}

/// Shows the policies of the caller's scope.
pub async fn handle(State(state): State<ApiState>, Visitor { page, caller }: Visitor) -> Result<Response, ApiError> {
    let mut found = state.db.newest_policies(caller.scope(), None, MAX_POLICIES + 1).await?;
    let has_more = i64::try_from(found.len()).is_ok_and(|found| found > MAX_POLICIES);
    found.truncate(usize::try_from(MAX_POLICIES).unwrap_or_default());
    let with: BTreeSet<String> = found.iter().map(|row| TargetLink::of(&row.target).repository).collect();
    let connected = state.db.github_connections(caller.scope()).await?;
    let connected: BTreeSet<(String, String)> =
        connected.into_iter().map(|row| (row.owner.to_ascii_lowercase(), row.repo.to_ascii_lowercase())).collect();
    let all = |(owner, repo)| PolicyTarget { owner, repo, account_id: String::new(), region: String::new() };
    let without = connected.into_iter().map(|of| TargetLink::of(&all(of)));
    // With more policies than are shown, a repository may have one of those.
    let without = without.filter(|link| !has_more && !with.contains(&link.repository)).collect();
    let row = |TargetPolicy { target, newest }| PolicyRow {
        link: TargetLink::of(&target),
        newest: version_row(&page, &newest),
    };
    let rows = found.into_iter().map(row).collect();
    render(&page.clone(), &PoliciesView { page, rows, has_more, without })
}

fn version_row(page: &Page, row: &PolicyVersion) -> VersionRow {
    VersionRow {
        version: row.version,
        created_by: page.author(&row.created_by),
        created_at: row.created_at,
        rules: rules(page, &row.policy.0),
    }
}
