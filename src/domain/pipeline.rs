//! Interprets a Step Functions history: which events and facts it yields, and whether the deployment is ready or has failed. Pure, so that
//! tests cover every shape of history.

use serde_json::Value;
use url::Url;

use super::catalogue::EventCode;
use super::deployment::Facts;
use super::event::Event;
use super::failure::ErrorCode;
use super::history::{HistoryEvent, HistoryKind};
use super::names::Names;
use super::text;

/// Result of interpreting a page of history.
#[derive(Debug, Default, PartialEq)]
pub struct Interpretation {
    /// Events to emit, in order.
    pub events: Vec<Event>,
    /// Observed facts, including the id of the last history event acted on.
    pub facts: Facts,
    /// True if the last task result was a failure: the state's exit that follows is a Catch, even in the next page.
    pub task_failed: bool,
    /// Decision about the deployment, if the page contains one.
    pub verdict: Option<Verdict>,
}

/// Decision that a history implies.
#[derive(Debug, PartialEq)]
pub enum Verdict {
    /// Green is up, and the deployment awaits approval.
    WaitingApproval,
    /// The execution succeeded: the traffic is on green.
    Succeeded,
    /// The execution can no longer succeed.
    Failed {
        /// Error code of the deployment.
        code: ErrorCode,
        /// Error and cause that the execution reports.
        reason: String,
    },
}

/// Interprets `history` up to and including the event that decides. `history` must be ascending and newer than the last event acted on.
///
/// Unknown events, or none at all, decide nothing: only the approval exit and `ExecutionSucceeded` are a success.
pub fn interpret(history: &[HistoryEvent], names: &Names, task_failed: bool) -> Interpretation {
    let mut page = Interpretation { task_failed, ..Interpretation::default() };
    for event in history {
        page.facts.last_history_event_id = Some(event.id);
        page.apply(&event.kind, names);
        if page.verdict.is_some() {
            break;
        }
    }
    page
}

impl Interpretation {
    fn apply(&mut self, kind: &HistoryKind, names: &Names) {
        match kind {
            HistoryKind::StateEntered { name } if *name == names.ensure_infra_state => {
                self.polling("ENSURE_INFRA_IN_PROGRESS");
                self.events.push(Event::new(EventCode::InfraStarted));
            }
            HistoryKind::StateEntered { name } if *name == names.register_state => {
                self.polling("REGISTER_TASK_IN_PROGRESS");
                self.events.push(Event::new(EventCode::BlueGreenStarted));
            }
            HistoryKind::StateExited { .. } if self.task_failed => self.task_failed = false,
            HistoryKind::StateExited { name, output } => {
                let output = output.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or(Value::Null);
                if *name == names.ensure_infra_state {
                    self.infra_completed(&output);
                } else if *name == names.register_state {
                    self.registered(&output);
                } else if *name == names.check_state {
                    self.checked(&output);
                }
            }
            HistoryKind::TaskSucceeded => self.task_failed = false,
            HistoryKind::TaskFailed => self.task_failed = true,
            HistoryKind::Succeeded => {
                self.polling("SUCCEEDED");
                self.verdict = Some(Verdict::Succeeded);
            }
            HistoryKind::Failed { error, cause } => {
                self.fail(ErrorCode::ExecutionFailed, error.as_ref(), cause.as_ref());
            }
            HistoryKind::TimedOut { error, cause } => {
                self.fail(ErrorCode::ExecutionTimedOut, error.as_ref(), cause.as_ref());
            }
            HistoryKind::Aborted { error, cause } => {
                self.fail(ErrorCode::ExecutionAborted, error.as_ref(), cause.as_ref());
            }
            HistoryKind::StateEntered { .. } | HistoryKind::Other => {}
        }
    }

    fn polling(&mut self, state: &str) {
        self.facts.polling_state = Some(state.to_owned());
    }

    fn fail(&mut self, code: ErrorCode, error: Option<&String>, cause: Option<&String>) {
        self.polling("FAILED");
        let texts: Vec<&str> =
            [error, cause].into_iter().flatten().map(|text| text.trim()).filter(|s| !s.is_empty()).collect();
        let reason =
            if texts.is_empty() { "the execution gave no cause".to_owned() } else { text::reason(&texts.join(": ")) };
        self.verdict = Some(Verdict::Failed { code, reason });
    }

    fn infra_completed(&mut self, output: &Value) {
        self.polling("ENSURE_INFRA_COMPLETED");
        let facts = &mut self.facts;
        facts.cluster_name = find_text(output, "clusterName");
        facts.service_name = find_text(output, "serviceName");
        facts.task_definition = find_text(output, "taskDefinition");
        self.events.push(
            Event::new(EventCode::InfraCompleted)
                .with_known("cluster_name", facts.cluster_name.as_deref())
                .with_known("service_name", facts.service_name.as_deref())
                .with_known("task_definition", facts.task_definition.as_deref()),
        );
    }

    fn registered(&mut self, output: &Value) {
        self.polling("REGISTER_TASK_COMPLETED");
        let (blue, green) = (find(output, "blueService"), find(output, "greenService"));
        let within = |service: &Option<Value>, key: &str| service.as_ref().and_then(|service| find_text(service, key));
        let facts = Facts {
            cluster_name: find_text(output, "clusterName"),
            service_name: find_text(output, "serviceName"),
            blue_service_arn: within(&blue, "serviceArn").or_else(|| find_text(output, "blueServiceArn")),
            green_service_arn: within(&green, "serviceArn").or_else(|| find_text(output, "greenServiceArn")),
            blue_url: within(&blue, "url").or_else(|| find_text(output, "blueUrl")).map(without_user),
            green_url: within(&green, "url").or_else(|| find_text(output, "greenUrl")).map(without_user),
            code_deploy_deployment_id: find_code_deploy_id(output),
            code_deploy_application_name: find_text(output, "codeDeployApplicationName"),
            ..Facts::default()
        };
        if let Some(url) = &facts.blue_url {
            self.events.push(Event::new(EventCode::BlueRunning).with("blue_url", url.as_str()));
        }
        if let Some(url) = &facts.green_url {
            self.events.push(Event::new(EventCode::GreenReady).with("green_url", url.as_str()));
        }
        self.events.push(
            Event::new(EventCode::BlueGreenInProgress)
                .with_known("cluster_name", facts.cluster_name.as_deref())
                .with_known("service_name", facts.service_name.as_deref())
                .with_known("blue_service_arn", facts.blue_service_arn.as_deref())
                .with_known("blue_url", facts.blue_url.as_deref())
                .with_known("green_service_arn", facts.green_service_arn.as_deref())
                .with_known("green_url", facts.green_url.as_deref())
                .with_known("code_deploy_deployment_id", facts.code_deploy_deployment_id.as_deref())
                .with_known("code_deploy_application_name", facts.code_deploy_application_name.as_deref()),
        );
        self.facts.merge(facts);
    }

    fn checked(&mut self, output: &Value) {
        let is_approval = |object: &serde_json::Map<String, Value>| {
            object.get("status").and_then(Value::as_str) == Some("WAITING_APPROVAL")
                && object.get("stage").and_then(Value::as_str).is_none_or(|stage| stage.contains("CHECK_DEPLOYMENT"))
        };
        if walk(output, &mut |object| is_approval(object).then_some(Value::Null)).is_none() {
            return;
        }
        self.polling("DEPLOYMENT_READY");
        self.facts.merge(Facts {
            blue_target_group_arn: find_text(output, "blueTargetGroupArn"),
            green_target_group_arn: find_text(output, "greenTargetGroupArn"),
            blue_url: find_text(output, "blueUrl").map(without_user),
            green_url: find_text(output, "greenUrl").map(without_user),
            code_deploy_deployment_id: find_code_deploy_id(output),
            ..Facts::default()
        });
        self.verdict = Some(Verdict::WaitingApproval);
    }
}

/// Longest value taken from an output, in bytes.
const MAX_VALUE_BYTES: usize = 2_048;

/// Finds CodeDeploy's deployment id: `codeDeployDeploymentId`, or a `deploymentId` with CodeDeploy's prefix `d-`.
fn find_code_deploy_id(output: &Value) -> Option<String> {
    find_text(output, "codeDeployDeploymentId").or_else(|| {
        walk(output, &mut |object| {
            object.get("deploymentId").filter(|id| id.as_str().is_some_and(|id| id.starts_with("d-"))).cloned()
        })
        .and_then(|id| id.as_str().map(str::to_owned))
    })
}

/// Removes user and password from a service's URL, because every client can see the URL.
fn without_user(text: String) -> String {
    match Url::parse(&text) {
        Ok(mut url) if !url.username().is_empty() || url.password().is_some() => {
            let stripped = url.set_username("").and_then(|()| url.set_password(None));
            if stripped.is_ok() { url.into() } else { text }
        }
        _ => text,
    }
}

fn find_text(output: &Value, key: &str) -> Option<String> {
    // A name, ARN or URL is never empty, very long or with control characters: treat such a value as absent.
    let usable = |text: &str| !text.is_empty() && text.len() <= MAX_VALUE_BYTES && !text.contains(char::is_control);
    walk(output, &mut |object| object.get(key).filter(|value| value.as_str().is_some_and(usable)).cloned())
        .and_then(|value| value.as_str().map(str::to_owned))
}

fn find(output: &Value, key: &str) -> Option<Value> {
    walk(output, &mut |object| object.get(key).filter(|value| !value.is_null()).cloned())
}

/// Visits the objects of `output`, shallowest first, and returns the first result. A result path may nest the objects, and a Lambda task
/// wraps them in `Payload` (itself an object, or JSON in a string).
fn walk(output: &Value, visit: &mut dyn FnMut(&serde_json::Map<String, Value>) -> Option<Value>) -> Option<Value> {
    let mut level = vec![output.clone()];
    for _ in 0..MAX_DEPTH {
        let mut next = Vec::new();
        for value in level {
            match value {
                Value::Object(object) => {
                    if let Some(found) = visit(&object) {
                        return Some(found);
                    }
                    next.extend(object.into_iter().filter_map(|(key, value)| match value {
                        Value::String(text) if key == "Payload" || key == "body" => serde_json::from_str(&text).ok(),
                        Value::Object(_) | Value::Array(_) => Some(value),
                        _ => None,
                    }));
                }
                Value::Array(values) => {
                    next.extend(values.into_iter().filter(|value| value.is_object() || value.is_array()));
                }
                _ => {}
            }
        }
        level = next;
    }
    None
}

/// Maximum nesting depth that `walk` searches. Outputs are small, but users write them.
const MAX_DEPTH: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn entered(id: i64, name: &str) -> HistoryEvent {
        HistoryEvent { id, kind: HistoryKind::StateEntered { name: name.to_owned() } }
    }

    fn exited(id: i64, name: &str, output: &Value) -> HistoryEvent {
        HistoryEvent { id, kind: HistoryKind::StateExited { name: name.to_owned(), output: Some(output.to_string()) } }
    }

    fn codes(page: &Interpretation) -> Vec<&'static str> {
        page.events.iter().map(|event| event.code.as_str()).collect()
    }

    fn interpret_all(history: &[HistoryEvent]) -> Interpretation {
        interpret(history, &Names::default(), false)
    }

    #[test]
    fn emits_the_whole_pipeline_in_order_up_to_the_approval() {
        let page = interpret_all(&[
            HistoryEvent { id: 1, kind: HistoryKind::Other },
            entered(2, "EnsureInfra"),
            exited(3, "EnsureInfra", &json!({"clusterName": "c", "serviceName": "s", "taskDefinition": "t:1"})),
            entered(4, "RegisterTaskAndDeploy"),
            exited(
                5,
                "RegisterTaskAndDeploy",
                &json!({"deployResult": {"Payload": json!({
                "blueService": {"serviceArn": "arn:b", "url": "http://b"},
                "greenService": {"serviceArn": "arn:g", "url": "http://g"},
                "deploymentId": "d-ABC", "codeDeployApplicationName": "app"}).to_string()}}),
            ),
            entered(6, "CheckDeployment"),
            exited(
                7,
                "CheckDeployment",
                &json!({"status": "ignored", "checkResult": {"Payload": {
                "status": "WAITING_APPROVAL", "stage": "CHECK_DEPLOYMENT",
                "checkResult": {"blueTargetGroupArn": "arn:tb", "greenTargetGroupArn": "arn:tg"}}}}),
            ),
            HistoryEvent { id: 8, kind: HistoryKind::Succeeded },
        ]);
        assert_eq!(
            codes(&page),
            [
                "infra_started",
                "infra_completed",
                "blue_green_started",
                "blue_running",
                "green_ready",
                "blue_green_in_progress"
            ]
        );
        assert_eq!(page.verdict, Some(Verdict::WaitingApproval));
        let facts = page.facts;
        assert_eq!(facts.last_history_event_id, Some(7), "events after the decision are not acted on");
        assert_eq!(facts.code_deploy_deployment_id.as_deref(), Some("d-ABC"));
        assert_eq!(facts.green_url.as_deref(), Some("http://g"));
        assert_eq!(facts.green_target_group_arn.as_deref(), Some("arn:tg"));
        assert_eq!(facts.polling_state.as_deref(), Some("DEPLOYMENT_READY"));
    }

    #[test]
    fn undecided_without_a_decisive_event() {
        assert_eq!(interpret_all(&[]), Interpretation::default());
        let page = interpret_all(&[
            entered(9, "CheckDeployment"),
            exited(10, "CheckDeployment", &json!({"status": "IN_PROGRESS"})),
        ]);
        assert_eq!((page.verdict, page.facts.last_history_event_id), (None, Some(10)));
    }

    #[test]
    fn exit_after_a_catch_is_no_success_even_in_the_next_page() {
        let first = interpret_all(&[entered(2, "EnsureInfra"), HistoryEvent { id: 3, kind: HistoryKind::TaskFailed }]);
        assert!(first.task_failed);
        let second =
            interpret(&[exited(4, "EnsureInfra", &json!({"Error": "x"}))], &Names::default(), first.task_failed);
        assert_eq!(codes(&second), Vec::<&str>::new());
        assert!(!second.task_failed);
    }

    #[test]
    fn a_retried_task_that_succeeds_is_a_success() {
        let page = interpret_all(&[
            HistoryEvent { id: 3, kind: HistoryKind::TaskFailed },
            HistoryEvent { id: 4, kind: HistoryKind::TaskSucceeded },
            exited(5, "EnsureInfra", &json!({})),
        ]);
        assert_eq!(codes(&page), ["infra_completed"]);
    }

    #[test]
    fn ignores_an_approval_of_another_stage() {
        let output = json!({"status": "WAITING_APPROVAL", "stage": "SECURITY_REVIEW"});
        assert_eq!(interpret_all(&[exited(1, "CheckDeployment", &output)]).verdict, None);
    }

    #[test]
    fn keeps_error_and_cause_of_the_execution() {
        let kind = HistoryKind::Failed { error: Some("States.TaskFailed".into()), cause: Some("no capacity".into()) };
        let page = interpret_all(&[HistoryEvent { id: 4, kind }]);
        let reason = "States.TaskFailed: no capacity".to_owned();
        assert_eq!(page.verdict, Some(Verdict::Failed { code: ErrorCode::ExecutionFailed, reason }));
        assert_eq!(page.facts.polling_state.as_deref(), Some("FAILED"));
    }

    #[test]
    fn execution_may_succeed_without_approval() {
        assert_eq!(
            interpret_all(&[HistoryEvent { id: 4, kind: HistoryKind::Succeeded }]).verdict,
            Some(Verdict::Succeeded)
        );
    }

    #[test]
    fn tolerates_output_that_is_not_json() {
        let kind = HistoryKind::StateExited { name: "RegisterTaskAndDeploy".into(), output: Some("{oops".into()) };
        assert_eq!(codes(&interpret_all(&[HistoryEvent { id: 1, kind }])), ["blue_green_in_progress"]);
    }
}
