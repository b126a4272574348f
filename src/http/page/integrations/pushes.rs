//! Rules of a push hook in words, and its deliveries as templates show them.

use chrono::{DateTime, Utc};

use super::facts::Fact;
use crate::domain::push_hook::PushRule;
use crate::domain::text::visible;
use crate::http::page::context::Page;
use crate::http::routes::hooks::deliveries::ShownPushDelivery;

/// A rule: the repository, and settings that are not the default.
pub struct RuleRow {
    pub repository: String,
    /// Patterns and what is deployed.
    pub facts: Vec<Fact>,
}

impl RuleRow {
    /// Prepares a rule for templates.
    pub fn of(page: &Page, rule: PushRule) -> Self {
        let labels: Vec<String> = rule.labels.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let build = &rule.build;
        let parts = [&build.dockerfile, &build.context, &build.target, &build.platform];
        let build: Vec<String> = parts.into_iter().flatten().cloned().collect();
        let lists = [
            ("branches", rule.branches),
            ("tags", rule.tags),
            ("paths", rule.paths),
            ("ignore", rule.ignore_paths),
            ("build", build),
            ("labels", labels),
            ("target", vec![rule.aws_connection_id]),
            ("taken", vec![page.named("start.concurrency", rule.concurrency.as_str())]),
        ];
        let facts = lists.into_iter().filter(|(_, values)| !values.is_empty());
        let facts = facts.map(|(name, values)| Fact { name, value: visible(&values.join(", ")) }).collect();
        Self { repository: visible(&format!("{}/{}", rule.owner, rule.repo)), facts }
    }
}

/// A received delivery with its decision.
pub struct PushRow {
    /// Id by which GitHub names it.
    pub id: String,
    /// Event by the header of GitHub.
    pub event: String,
    /// Repository of the payload.
    pub repository: Option<String>,
    /// Branch, tag or whole ref.
    pub ref_name: Option<String>,
    /// Owner, repository and commit, where the delivery is signed and has one.
    pub commit: Option<(String, String, String)>,
    pub received_at: DateTime<Utc>,
    pub decided_at: DateTime<Utc>,
    /// `started`, `ignored` or `rejected`.
    pub decision: String,
    /// Reason of the decision, for programs.
    pub reason_code: String,
    /// Reason of the decision, for people.
    pub reason: String,
    pub deployment_id: Option<String>,
    /// Number of decisions, or of unsigned requests.
    pub attempts: i32,
    /// Another decision may be requested.
    pub may_redeliver: bool,
}

impl From<ShownPushDelivery> for PushRow {
    fn from(row: ShownPushDelivery) -> Self {
        let short = |name: &str| {
            let known = ["refs/heads/", "refs/tags/"].iter().find_map(|start| name.strip_prefix(start));
            visible(known.unwrap_or(name))
        };
        let names = row.repository.as_deref().and_then(|name| name.split_once('/'));
        let commit = names.zip(row.commit.as_deref());
        let commit = commit.map(|((owner, repo), commit)| (owner.to_owned(), repo.to_owned(), commit.to_owned()));
        Self {
            may_redeliver: row.verified && row.deployment_id.is_none(),
            commit,
            id: row.delivery_id,
            event: visible(&row.event),
            repository: row.repository.as_deref().map(visible),
            ref_name: row.ref_name.as_deref().map(short),
            received_at: row.received_at,
            decided_at: row.decided_at,
            decision: row.decision,
            reason_code: row.reason_code,
            reason: visible(&row.reason),
            deployment_id: row.deployment_id,
            attempts: row.attempts,
        }
    }
}
