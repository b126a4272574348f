//! Which deployments a viewer of all of them wants to hear of.

use crate::db::feed::FeedEvent;
use crate::domain::deployment::Status;
use crate::domain::principal::Scope;

/// All that is given must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Only events after whose commit the deployment had one of these statuses; empty for all.
    pub statuses: Vec<Status>,
    /// Only this account or organisation, in any case.
    pub owner: Option<String>,
    /// Only this repository, in any case.
    pub repo: Option<String>,
    /// Only this branch.
    pub branch: Option<String>,
    /// What the viewer may see.
    pub scope: Scope,
}

impl Filter {
    /// Whether it lets everything through.
    pub fn is_open(&self) -> bool {
        self.statuses.is_empty()
            && [&self.owner, &self.repo, &self.branch].iter().all(|wanted| wanted.is_none())
            && self.scope == Scope::All
    }

    /// Whether the viewer wants this event. Only what was stored with it decides, so that it is the same at every reading.
    pub fn lets_through(&self, event: &FeedEvent) -> bool {
        // GitHub's names, as in lists; a branch's case is git's.
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
