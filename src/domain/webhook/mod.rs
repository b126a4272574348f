//! Outgoing webhooks, following [Standard Webhooks 1.0](https://github.com/standard-webhooks/standard-webhooks): which events a webhook receives.

pub mod assignment;
pub mod attempt;
pub mod payload;
pub mod signing;

use url::Url;

use super::catalogue::{EventCode, EventType};
use super::failure::ErrorCode;
use super::message::message;
use super::principal::Scope;
use super::validate::BrokenRule;

/// Most webhooks of an installation: each may hold some hundred events in memory.
pub const MAX_WEBHOOKS: i64 = 100;

/// Most secrets of a webhook that sign at a time, the newest included.
pub const MAX_SECRETS: i64 = 3;

/// Hours for which a secret signs after its rotation, unless the caller names another number.
pub const ROTATION_HOURS: i64 = 24;

/// Most hours for which a secret signs after its rotation.
pub const MAX_ROTATION_HOURS: i64 = 168;

/// Most types and codes in a filter.
const MAX_EVENTS: usize = 100;

/// Longest address, in bytes.
const MAX_URL: usize = 2_000;

/// Longest description, in characters.
const MAX_DESCRIPTION: usize = 500;

/// The three types that the filter may name in place of codes.
const TYPES: [EventType; 3] = [EventType::Stage, EventType::Success, EventType::Fail];

/// Which events a webhook receives.
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

/// Parses the address of a receiver.
///
/// # Errors
/// The rule that it breaks; never the address, which may authenticate.
pub fn url(given: &str) -> Result<Url, BrokenRule> {
    let url = Url::parse(given).ok().filter(|url| {
        ["http", "https"].contains(&url.scheme())
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.fragment().is_none()
    });
    url.filter(|url| url.as_str().len() <= MAX_URL).ok_or_else(|| message!("rule.webhook_url", max = MAX_URL))
}

/// Checks a description.
///
/// # Errors
/// It is empty, too long, or has control characters.
pub fn description(given: &str) -> Result<(), BrokenRule> {
    let fits = (1..=MAX_DESCRIPTION).contains(&given.chars().count()) && !given.chars().any(char::is_control);
    if fits { Ok(()) } else { Err(message!("rule.webhook_description", max = MAX_DESCRIPTION)) }
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
    fn refuses_unknown_events_and_unsuitable_addresses() {
        events(&["stage".to_owned(), "ready".to_owned()]).unwrap();
        for wrong in [vec![], vec!["finished".to_owned()], vec!["stage".to_owned(); MAX_EVENTS + 1]] {
            events(&wrong).unwrap_err();
        }
        for right in ["https://hooks.example/panda?x=1", "http://10.0.0.7:8080/"] {
            url(right).unwrap();
        }
        let long = format!("https://hooks.example/{}", "x".repeat(MAX_URL));
        for wrong in ["hooks.example", "ftp://hooks.example/", "https://me:pw@hooks.example/", "https://h/#x", &long] {
            url(wrong).unwrap_err();
        }
    }
}
