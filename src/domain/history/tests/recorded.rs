//! Histories as `GetExecutionHistory` returns them.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::domain::history::{EventClass, ExitOutput, HistoryEvent, HistoryKind, classify};

/// The accounts of the corpus: the user's and the controller's.
pub const ACCOUNTS: [&str; 2] = ["210987654321", "123456789012"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recorded {
    /// Name of the file.
    #[serde(skip)]
    pub name: String,
    /// Row of the findings that it stands for, or the area.
    pub row: String,
    #[expect(dead_code, reason = "for readers of the file")]
    pub about: String,
    pub events: Vec<Value>,
    pub expected: Expected,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Expected {
    /// Codes of the events, in order.
    pub events: Vec<String>,
    /// `waiting_approval`, `succeeded` or an error code.
    pub verdict: Option<String>,
    pub reason: Option<String>,
    #[serde(default)]
    pub facts: BTreeMap<String, String>,
    #[serde(default)]
    pub unknown: Vec<String>,
    pub reports_success: Option<bool>,
    pub seen: Option<String>,
    pub refused: Option<String>,
    pub missing: Option<i64>,
    #[serde(default)]
    pub redriven: bool,
}

pub fn all() -> Vec<Recorded> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/domain/history/tests/corpus");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    let read = |path: &std::path::PathBuf| {
        let mut recorded: Recorded = serde_json::from_str(&std::fs::read_to_string(path).unwrap())
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        recorded.name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        recorded
    };
    files.iter().map(read).collect()
}

impl Recorded {
    pub fn history(&self) -> Vec<HistoryEvent> {
        self.events.iter().map(event).collect()
    }

    /// The names of all states, in order of their first event.
    pub fn states(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for event in &self.events {
            let details =
                ["stateEnteredEventDetails", "stateExitedEventDetails"].iter().find_map(|key| event.get(*key));
            if let Some(name) = details.and_then(|details| details["name"].as_str())
                && !names.iter().any(|known| known == name)
            {
                names.push(name.to_owned());
            }
        }
        names
    }
}

fn event(raw: &Value) -> HistoryEvent {
    let kind = raw["type"].as_str().unwrap();
    let mut key = kind.to_owned();
    key.get_mut(..1).unwrap().make_ascii_lowercase();
    let details = match classify(kind) {
        EventClass::Entered => &raw["stateEnteredEventDetails"],
        EventClass::Exited => &raw["stateExitedEventDetails"],
        _ => &raw[format!("{key}EventDetails")],
    };
    let text = |key: &str| details[key].as_str().map(str::to_owned);
    let (error, cause) = (text("error"), text("cause"));
    let kind = match (classify(kind), kind) {
        (EventClass::Entered, _) => HistoryKind::StateEntered { name: text("name").unwrap(), input: text("input") },
        (EventClass::Exited, _) => {
            let variables = details["assignedVariables"].as_object().into_iter().flatten();
            let output = ExitOutput {
                text: text("output"),
                truncated: details["outputDetails"]["truncated"] == true,
                variables: variables.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect(),
            };
            HistoryKind::StateExited { name: text("name").unwrap(), output }
        }
        (EventClass::Failure, _) => HistoryKind::Failure { error, cause },
        (_, "ExecutionSucceeded") => HistoryKind::Succeeded,
        (_, "ExecutionRedriven") => HistoryKind::Redriven,
        (_, "ExecutionFailed") => HistoryKind::Failed { error, cause },
        (_, "ExecutionTimedOut") => HistoryKind::TimedOut { error, cause },
        (_, "ExecutionAborted") => HistoryKind::Aborted { error, cause },
        (EventClass::Unknown, _) => HistoryKind::Unknown,
        _ => HistoryKind::Progress,
    };
    HistoryEvent { id: raw["id"].as_i64().unwrap(), previous: raw["previousEventId"].as_i64().unwrap(), kind }
}
