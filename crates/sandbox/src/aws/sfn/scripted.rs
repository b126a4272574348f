//! Histories that a test writes, in the place of what the simulated execution recorded.

use chrono::Utc;
use serde_json::{Value, json};

use super::super::epoch;
use super::history::ShownEvent;

/// Text in a scripted history that stands for the id of the repository's newest `CodeDeploy` deployment.
const DEPLOYMENT: &str = "{codeDeployDeploymentId}";

/// An event as `GetExecutionHistory` returns it.
#[derive(Debug)]
pub struct ScriptedEvent(Value);

/// Returns the events of a script up to the first one that names a deployment, while there is none.
pub fn scripted(script: &[Value], deployment: Option<&str>) -> Vec<ScriptedEvent> {
    let event = |event: &Value| {
        let text = event.to_string();
        let text = match deployment {
            Some(id) => text.replace(DEPLOYMENT, id),
            None if text.contains(DEPLOYMENT) => return None,
            None => text,
        };
        // An id has no character that JSON escapes, at any depth of texts in texts.
        let mut event: Value = serde_json::from_str(&text).ok()?;
        if event.get("timestamp").is_none() {
            event["timestamp"] = json!(epoch(Utc::now()));
        }
        Some(ScriptedEvent(event))
    };
    script.iter().map_while(event).collect()
}

impl ScriptedEvent {
    /// The status of an execution that this event ends.
    pub fn end(&self) -> Option<&'static str> {
        Some(match self.0["type"].as_str()? {
            "ExecutionSucceeded" => "SUCCEEDED",
            "ExecutionFailed" => "FAILED",
            "ExecutionTimedOut" => "TIMED_OUT",
            "ExecutionAborted" => "ABORTED",
            _ => return None,
        })
    }
}

impl ShownEvent for ScriptedEvent {
    fn id(&self) -> u64 {
        self.0["id"].as_u64().unwrap_or_default()
    }

    fn shown(&self, with_data: bool) -> Value {
        let mut event = self.0.clone();
        let members = event.as_object_mut().into_iter().flatten();
        for (_, details) in members.filter(|(key, _)| !with_data && key.ends_with("EventDetails")) {
            super::history::without_data(details);
        }
        event
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_for_the_deployment_that_it_names() {
        let script = [
            json!({"id": 1, "type": "ExecutionStarted"}),
            json!({"id": 2, "output": "{\"id\":\"{codeDeployDeploymentId}\"}"}),
        ];
        assert_eq!(scripted(&script, None).len(), 1);
        let events = scripted(&script, Some("d-1"));
        assert_eq!(events[1].shown(true)["output"], "{\"id\":\"d-1\"}");
        assert_eq!(events[1].id(), 2);
    }
}
