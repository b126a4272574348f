//! Which events a receiver gets.

use std::sync::LazyLock;

use crate::domain::catalogue::{EventCode, EventType};
use crate::domain::failure::ErrorCode;
use crate::domain::labels::Labels;
use crate::domain::message::message;
use crate::domain::principal::Scope;
use crate::domain::validate::BrokenRule;

/// Most types and codes in a filter.
const MAX_EVENTS: usize = 100;

/// Longest description, in characters.
const MAX_DESCRIPTION: usize = 500;

/// The three types that the filter may name in place of codes.
const TYPES: [EventType; 3] = [EventType::Stage, EventType::Success, EventType::Fail];

/// Events that a receiver gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventFilter {
    /// Types and codes; none for all.
    pub events: Option<Vec<String>>,
    /// Sources of the deployments whose events are wanted.
    pub repositories: Scope,
    /// Labels that the deployments must have, each with its value; none for all deployments.
    pub labels: Labels,
}

/// An event with the attributes that filters compare.
#[derive(Clone, Copy, Debug)]
pub struct FilteredEvent<'a> {
    /// Type as clients see it.
    pub event_type: EventType,
    /// Code of the event.
    pub code: &'a str,
    /// Account or organisation of the source.
    pub owner: &'a str,
    /// Repository of the source.
    pub repo: &'a str,
    /// Labels of the deployment.
    pub labels: &'a Labels,
}

impl EventFilter {
    /// Reports that an event is wanted.
    pub fn matches(&self, event: FilteredEvent<'_>) -> bool {
        let named = |name: &String| name == event.code || name == event.event_type.as_str();
        self.events.as_ref().is_none_or(|events| events.iter().any(named))
            && self.repositories.holds(event.owner, event.repo)
            && self.labels.0.iter().all(|(name, value)| event.labels.0.get(name) == Some(value))
    }
}

/// Checks the types and codes of a filter.
///
/// # Errors
/// There are none or too many, or one that no event has.
pub fn events(given: &[String]) -> Result<(), BrokenRule> {
    if !(1..=MAX_EVENTS).contains(&given.len()) {
        return Err(message!("rule.webhook_events_size", max = MAX_EVENTS));
    }
    match given.iter().find(|event| !is_type(event) && !is_code(event)) {
        Some(unknown) => Err(message!("rule.webhook_event", value = format!("{unknown:?}"))),
        None => Ok(()),
    }
}

fn is_type(text: &str) -> bool {
    TYPES.iter().any(|known| known.as_str() == text)
}

fn is_code(text: &str) -> bool {
    EventCode::STAGES_AND_SUCCESSES.iter().any(|code| code.as_str() == text)
        || ErrorCode::ALL.iter().any(|error| error.event_code() == text)
}

/// Checks a description.
///
/// # Errors
/// It is empty, too long, or has control characters.
pub fn description(given: &str) -> Result<(), BrokenRule> {
    let fits = (1..=MAX_DESCRIPTION).contains(&given.chars().count()) && !given.chars().any(char::is_control);
    if fits { Ok(()) } else { Err(message!("rule.webhook_description", max = MAX_DESCRIPTION)) }
}

/// Codes of the events, besides failures, that receivers show in a deployment's thread.
const MILESTONES: [EventCode; 9] = [
    EventCode::RetryStarted,
    EventCode::Ready,
    EventCode::SwitchApproved,
    EventCode::SwitchRefused,
    EventCode::GateNotPassed,
    EventCode::Completed,
    EventCode::KeptOnGreen,
    EventCode::RollbackCompleted,
    EventCode::RollbackFailed,
];

static MILESTONE_CODES: LazyLock<Vec<String>> = LazyLock::new(|| {
    let failures = ErrorCode::ALL.iter().map(|error| error.event_code());
    MILESTONES.iter().map(|code| code.as_str()).chain(failures).map(str::to_owned).collect()
});

/// Returns the codes of events that are milestones of a deployment: the decisions and ends that people wait for.
pub fn milestones() -> &'static [String] {
    &MILESTONE_CODES
}

/// Reports that an event is a milestone of its deployment.
pub fn is_milestone(code: &str) -> bool {
    MILESTONE_CODES.iter().any(|known| known == code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(events: Option<&[&str]>, repositories: &[&str]) -> EventFilter {
        let names: Vec<String> = repositories.iter().map(|name| (*name).to_owned()).collect();
        let repositories = if names.is_empty() { Scope::All } else { Scope::of(&names).unwrap() };
        EventFilter {
            events: events.map(|events| events.iter().map(|event| (*event).to_owned()).collect()),
            repositories,
            labels: Labels::default(),
        }
    }

    fn labels(given: &[(&str, &str)]) -> Labels {
        Labels(given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn filters_by_type_code_and_repository() {
        let labels = Labels::default();
        let matches = |filter: &EventFilter, event_type, code, owner, repo| {
            filter.matches(FilteredEvent { event_type, code, owner, repo, labels: &labels })
        };
        let all = filter(None, &[]);
        assert!(matches(&all, EventType::Stage, "clone_started", "acme", "shop"));
        let ends = filter(Some(&["success", "build_failed"]), &["acme/*"]);
        assert!(matches(&ends, EventType::Success, "completed", "Acme", "shop"));
        assert!(matches(&ends, EventType::Fail, "build_failed", "acme", "toys"));
        assert!(!matches(&ends, EventType::Fail, "push_failed", "acme", "shop"));
        assert!(!matches(&ends, EventType::Success, "completed", "other", "shop"));
    }

    #[test]
    fn filters_by_every_label() {
        let wanted =
            EventFilter { labels: labels(&[("environment", "production"), ("team", "a")]), ..filter(None, &[]) };
        let matches = |given: &[(&str, &str)]| {
            let labels = labels(given);
            let (event_type, code) = (EventType::Success, "completed");
            wanted.matches(FilteredEvent { event_type, code, owner: "acme", repo: "shop", labels: &labels })
        };
        assert!(matches(&[("environment", "production"), ("team", "a"), ("tier", "1")]));
        for other in [&[("environment", "production")][..], &[("environment", "production"), ("team", "A")], &[]] {
            assert!(!matches(other), "{other:?}");
        }
    }

    #[test]
    fn refuses_unknown_events() {
        events(&["stage".to_owned(), "ready".to_owned()]).unwrap();
        for wrong in [vec![], vec!["finished".to_owned()], vec!["stage".to_owned(); MAX_EVENTS + 1]] {
            events(&wrong).unwrap_err();
        }
    }
}
