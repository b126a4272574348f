//! Events of `GetExecutionHistory` as AWS reports them, as far as reading them depends on them. They are stored, so that a later version can read them
//! again.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::event::{ExitOutput, HistoryEvent, HistoryKind};
use super::event_type::{EventClass, classify};
use crate::domain::names::Names;

/// Largest text of an event that is stored, in bytes: AWS's limit for inputs and outputs.
const MAX_TEXT_BYTES: usize = 262_144;

/// Largest size of all texts that are stored for one followed execution and attempt, in bytes.
const MAX_ALL_BYTES: u64 = 2_097_152;

/// One event of a history. Absent members do not apply to its type, or AWS withheld them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RawEvent {
    /// Id within the execution, from 1, without gaps.
    pub id: i64,
    /// Id of the event that caused this one; 0 where there is none.
    #[serde(rename = "previousEventId")]
    pub previous: i64,
    /// AWS's name of the type, such as `TaskStateExited`.
    #[serde(rename = "type")]
    pub event_type: String,
    /// Time of the event (AWS clock).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<DateTime<Utc>>,
    /// Name of the state that was entered or left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Input of the state that was entered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// Output of the state that was left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// Set if AWS cut the output.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
    /// Variables that the state assigned; none if AWS cut them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub variables: BTreeMap<String, String>,
    /// Name of the error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Cause of the error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Set if Panda did not store the texts, because they are too large.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
}

/// Events of one execution that were acted on together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryPiece {
    /// ARN that `GetExecutionHistory` was called with.
    pub execution_arn: String,
    /// The events, ascending, without gaps.
    pub events: Vec<RawEvent>,
}

impl RawEvent {
    /// Returns the event as the reader takes it.
    pub fn event(&self) -> HistoryEvent {
        HistoryEvent { id: self.id, previous: self.previous, kind: self.kind() }
    }

    fn kind(&self) -> HistoryKind {
        let (error, cause) = (self.error.clone(), self.cause.clone());
        match (classify(&self.event_type), &self.name) {
            // Task, Pass, Choice, Wait, Map, Parallel …: all have details of the same form.
            (EventClass::Entered, Some(name)) => {
                HistoryKind::StateEntered { name: name.clone(), input: self.input.clone() }
            }
            (EventClass::Exited, Some(name)) => {
                let (text, variables) = (self.output.clone(), self.variables.clone());
                let output = ExitOutput { text, truncated: self.truncated, variables };
                HistoryKind::StateExited { name: name.clone(), output }
            }
            (EventClass::Entered | EventClass::Exited | EventClass::Unknown, _) => HistoryKind::Unknown,
            (EventClass::Failure, _) => HistoryKind::Failure { error, cause },
            (EventClass::Progress, _) => HistoryKind::Progress,
            (EventClass::Execution, _) => match self.event_type.as_str() {
                "ExecutionSucceeded" => HistoryKind::Succeeded,
                "ExecutionRedriven" => HistoryKind::Redriven,
                "ExecutionFailed" => HistoryKind::Failed { error, cause },
                "ExecutionTimedOut" => HistoryKind::TimedOut { error, cause },
                "ExecutionAborted" => HistoryKind::Aborted { error, cause },
                _ => HistoryKind::Unknown,
            },
        }
    }

    /// Returns the event to store: without texts that the reader does not read, and without those that exceed the limits. `stored` is the size of
    /// all texts that were stored so far, in bytes.
    #[must_use]
    pub fn to_store(mut self, names: &Names, stored: &mut u64) -> Self {
        let states = [&names.ensure_infra_state, &names.register_state, &names.check_state];
        if self.name.as_ref().is_some_and(|name| !states.contains(&name)) {
            (self.input, self.output, self.variables) = (None, None, BTreeMap::new());
        }
        if self.name.as_ref() != Some(&names.check_state) {
            self.input = None;
        }
        let largest = self.texts_mut().into_iter().map(|text| text.len()).max().unwrap_or_default();
        let all: usize = self.texts_mut().into_iter().map(|text| text.len()).sum();
        let after = stored.saturating_add(u64::try_from(all).unwrap_or(u64::MAX));
        if largest > MAX_TEXT_BYTES || after > MAX_ALL_BYTES {
            let Self { id, previous, event_type, timestamp, name, truncated, .. } = self;
            return Self { id, previous, event_type, timestamp, name, truncated, cut: true, ..Self::default() };
        }
        *stored = after;
        self
    }

    /// Returns the texts that the pipeline wrote.
    pub fn texts_mut(&mut self) -> Vec<&mut String> {
        let Self { input, output, error, cause, variables, .. } = self;
        [input, output, error, cause].into_iter().flatten().chain(variables.values_mut()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn exit(name: &str, output: String) -> RawEvent {
        let (event_type, name) = ("TaskStateExited".to_owned(), Some(name.to_owned()));
        RawEvent { id: 7, previous: 6, event_type, name, output: Some(output), ..RawEvent::default() }
    }

    #[test]
    fn stored_form_is_that_of_aws() {
        let event = exit("EnsureInfra", "{}".to_owned());
        let stored = serde_json::to_value(&event).unwrap();
        let expected =
            json!({"id": 7, "previousEventId": 6, "type": "TaskStateExited", "name": "EnsureInfra", "output": "{}"});
        assert_eq!(stored, expected);
        assert_eq!(serde_json::from_value::<RawEvent>(stored).unwrap(), event);
    }

    #[test]
    fn stores_only_texts_that_are_read() {
        let (names, mut stored) = (Names::default(), 0);
        assert_eq!(exit("Notify", "secret".to_owned()).to_store(&names, &mut stored).output, None);
        assert_eq!(stored, 0);
        let kept = exit("EnsureInfra", "{}".to_owned());
        assert_eq!(kept.clone().to_store(&names, &mut stored), kept);
        assert_eq!(stored, 2);
    }

    #[test]
    fn cuts_what_is_too_large() {
        let (names, mut stored) = (Names::default(), 0);
        let cut = exit("EnsureInfra", "x".repeat(MAX_TEXT_BYTES + 1)).to_store(&names, &mut stored);
        assert!(cut.cut && cut.output.is_none() && cut.id == 7 && stored == 0);
        let large = || exit("EnsureInfra", "x".repeat(MAX_TEXT_BYTES));
        let cut = (0..9).filter(|_| large().to_store(&names, &mut stored).cut).count();
        assert_eq!((cut, stored), (1, MAX_ALL_BYTES), "eight fit");
    }
}
