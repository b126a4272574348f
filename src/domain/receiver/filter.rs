//! Which events a receiver gets.

use std::sync::LazyLock;

use crate::domain::catalogue::{EventCode, EventType};
use crate::domain::failure::ErrorCode;
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
}

impl EventFilter {
    /// Reports that an event is wanted, by its type, code and repository.
    pub fn matches(&self, event_type: EventType, code: &str, owner: &str, repo: &str) -> bool {
        let wanted = |events: &Vec<String>| events.iter().any(|event| event == code || event == event_type.as_str());
        self.events.as_ref().is_none_or(wanted) && self.repositories.holds(owner, repo)
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
        }
    }

    #[test]
    fn filters_by_type_code_and_repository() {
        let all = filter(None, &[]);
        assert!(all.matches(EventType::Stage, "clone_started", "acme", "shop"));
        let ends = filter(Some(&["success", "build_failed"]), &["acme/*"]);
        assert!(ends.matches(EventType::Success, "completed", "Acme", "shop"));
        assert!(ends.matches(EventType::Fail, "build_failed", "acme", "toys"));
        assert!(!ends.matches(EventType::Fail, "push_failed", "acme", "shop"));
        assert!(!ends.matches(EventType::Success, "completed", "other", "shop"));
    }

    #[test]
    fn refuses_unknown_events() {
        events(&["stage".to_owned(), "ready".to_owned()]).unwrap();
        for wrong in [vec![], vec!["finished".to_owned()], vec!["stage".to_owned(); MAX_EVENTS + 1]] {
            events(&wrong).unwrap_err();
        }
    }
}
