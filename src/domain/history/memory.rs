//! What reading the rest of a history needs of the part that was read. It is stored with the step, so it is small.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::status::hash;
use crate::domain::event::Event;
use crate::domain::text;

/// Maximum number of open failures. AWS ends an execution at 25,000 events, and failures are seldom left open.
const MAX_FAILURES: usize = 4_096;

/// Number of failures from which those that an event has named are forgotten: a loop of retries would collect them otherwise.
const MAX_NAMED_FAILURES: usize = 64;

/// Maximum number of open failures whose texts are kept.
const MAX_TEXTS: usize = 16;

/// Longest text of a failure, in characters.
const MAX_TEXT_CHARS: usize = 200;

/// Maximum number of statuses of an input that are kept.
const MAX_CARRIED: usize = 64;

/// State of reading a history, between two pieces of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Memory {
    /// Failures that a later event may name, with error and cause: an exit that names one of them is a Catch.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    failures: BTreeMap<i64, String>,
    /// Hash of the parameters with which each event was last emitted, by its code.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    emitted: BTreeMap<String, u64>,
    /// Statuses in the input of the check, which are not its own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    carried: Vec<u64>,
    /// What the last exit of the check said.
    #[serde(skip_serializing_if = "Option::is_none")]
    check: Option<Check>,
    /// Failure of an earlier state that the state machine handled.
    #[serde(skip_serializing_if = "Option::is_none")]
    handled: Option<String>,
    /// Refused values, by the name of the member.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    refused: BTreeMap<String, String>,
}

/// What an exit of the check said, other than that it waits for approval.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
struct Check {
    succeeded: bool,
    /// The finding, as a clause.
    seen: String,
}

impl Memory {
    /// Creates the memory of a reader that knew only whether the last event before `after` was a failure.
    #[must_use]
    pub fn with_last_failed(mut self, failed: bool, after: i64) -> Self {
        if failed && self.failures.is_empty() {
            self.failures.insert(after, String::new());
        }
        self
    }

    /// Forgets which events were emitted: a further attempt emits its own.
    #[must_use]
    pub fn for_further_attempt(mut self) -> Self {
        self.emitted.clear();
        self
    }

    /// Reports whether the event with this id is a failure.
    pub fn is_failure(&self, id: i64) -> bool {
        self.failures.contains_key(&id)
    }

    /// Reports whether the check was read and says that the deployment succeeded.
    pub fn reports_success(&self) -> bool {
        self.handled.is_none() && self.check.as_ref().is_some_and(|check| check.succeeded)
    }

    /// Returns the values that were refused, as one clause.
    pub fn refused(&self) -> Option<String> {
        let refused: Vec<&str> = self.refused.values().map(String::as_str).collect();
        (!refused.is_empty()).then(|| refused.join("; "))
    }

    /// Returns what was read of the check, as one clause; `check` is the name of its state.
    pub fn seen(&self, check: &str) -> String {
        let seen = self.check.as_ref().map(|check| check.seen.clone());
        let handled = self.handled.clone();
        let seen = seen.or_else(|| handled.is_none().then(|| format!("no exit of {check} was read")));
        [handled, seen].into_iter().flatten().collect::<Vec<_>>().join("; ")
    }

    /// Returns the failure that an event names as its cause.
    pub(super) fn named_failure(&mut self, id: i64) -> Option<String> {
        if self.failures.len() > MAX_NAMED_FAILURES {
            self.failures.remove(&id)
        } else {
            self.failures.get(&id).cloned()
        }
    }

    pub(super) fn open_failure(&mut self, id: i64, what: &str) {
        self.failures.insert(id, text::cut(what.trim(), MAX_TEXT_CHARS));
        if self.failures.len() > MAX_FAILURES {
            self.failures.pop_first();
        }
        let with_text = self.failures.values_mut().rev().filter(|text| !text.is_empty());
        with_text.skip(MAX_TEXTS).for_each(String::clear);
    }

    /// Reports whether `event` says something else than the last one of its code, and how it differs from the first: a loop emits changes only.
    pub(super) fn is_change(&mut self, event: &Event) -> Change {
        let said = event.params.iter().fold(0, |said, (key, value)| hash(hash(said, key), &value.to_string()));
        match self.emitted.insert(event.code.as_str().to_owned(), said) {
            None => Change::First,
            Some(before) if before == said => Change::Same,
            Some(_) => Change::Other,
        }
    }

    pub(super) fn check_entered(&mut self, mut carried: Vec<u64>) {
        carried.truncate(MAX_CARRIED);
        self.carried = carried;
    }

    pub(super) fn carried(&self) -> &[u64] {
        &self.carried
    }

    pub(super) fn check_left(&mut self, succeeded: bool, seen: String) {
        self.check = Some(Check { succeeded, seen });
    }

    /// Forgets what the check said: a new rollout needs a new check.
    pub(super) fn rollout_began(&mut self) {
        self.check = None;
    }

    pub(super) fn state_succeeded(&mut self) {
        self.handled = None;
    }

    pub(super) fn state_failed(&mut self, seen: String) {
        self.handled = Some(seen);
    }

    /// Remembers a refused value, until `known` has one that is accepted.
    pub(super) fn refuse(&mut self, key: &str, refused: Option<String>) {
        match refused {
            Some(refused) => _ = self.refused.insert(key.to_owned(), refused),
            None => _ = self.refused.remove(key),
        }
    }
}

/// How an event differs from the last one of its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    First,
    Same,
    Other,
}
