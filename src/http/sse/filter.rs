//! The filter of the stream of all deployments.

use crate::db::feed::FeedEvent;
use crate::domain::deployment::Status;
use crate::domain::principal::Scope;

/// Conditions on an event, combined with AND.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedFilter {
    /// The deployment's status after the commit of the event is one of these. Empty matches all.
    pub statuses: Vec<Status>,
    /// GitHub account or organisation, case-insensitive.
    pub owner: Option<String>,
    /// GitHub repository name, case-insensitive.
    pub repo: Option<String>,
    /// Git branch name, case-sensitive.
    pub branch: Option<String>,
    /// The repositories that the subscriber may see.
    pub scope: Scope,
}

impl FeedFilter {
    /// Returns true when no event can be filtered out.
    pub fn matches_all(&self) -> bool {
        self.statuses.is_empty()
            && [&self.owner, &self.repo, &self.branch].iter().all(|wanted| wanted.is_none())
            && self.scope == Scope::All
    }

    /// Decides only by data stored with the event, so that every read has the same result.
    pub fn matches(&self, event: &FeedEvent) -> bool {
        // GitHub names are case-insensitive, as in list queries; Git branch names are not.
        let is = |wanted: &Option<String>, value: &str| {
            wanted.as_deref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(value))
        };
        (self.statuses.is_empty() || self.statuses.contains(&event.status))
            && is(&self.owner, &event.owner)
            && is(&self.repo, &event.repo)
            && self.branch.as_deref().is_none_or(|wanted| wanted == event.branch)
            && self.scope.holds(&event.owner, &event.repo)
    }
}
