//! What a Step Functions history means for a deployment: pure, so that every shape of history is a test.

use serde_json::Value;
use url::Url;

use super::catalogue::EventCode;
use super::deployment::Facts;
use super::event::Event;
use super::failure::ErrorCode;
use super::history::{HistoryEvent, HistoryKind};
use super::names::Names;
use super::text;

/// What a stretch of history says.
#[derive(Debug, Default, PartialEq)]
pub struct Reading {
    /// What to tell, in order.
    pub events: Vec<Event>,
    /// What was learned, the id of the last event acted on among it.
    pub learned: Facts,
    /// Whether the last task result that was read is a failure: the exit that follows it is a Catch, even in the next page.
    pub task_failed: bool,
    /// Whether something was decided.
    pub verdict: Option<Verdict>,
}

/// What a history decides.
#[derive(Debug, PartialEq)]
pub enum Verdict {
    /// Green is up: a person's turn.
    WaitingApproval,
    /// The execution itself says that all is done.
    Succeeded,
    /// The execution will never get there.
    Failed {
        /// Which failure it is.
        code: ErrorCode,
        /// The execution's own error and cause.
        reason: String,
    },
}

/// Reads `history`, ascending and newer than what was acted on before, up to the event that decides.
///
/// A quiet or unknown stretch decides nothing: only the approval exit or `ExecutionSucceeded` is a success.
pub fn read(history: &[HistoryEvent], names: &Names, task_failed: bool) -> Reading {
    let mut reading = Reading { task_failed, ..Reading::default() };
    for event in history {
        reading.learned.last_history_event_id = Some(event.id);
        reading.read_event(&event.kind, names);
        if reading.verdict.is_some() {
            break;
        }
    }
    reading
}

impl Reading {
    fn read_event(&mut self, kind: &HistoryKind, names: &Names) {
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
        self.learned.polling_state = Some(state.to_owned());
    }

    fn fail(&mut self, code: ErrorCode, error: Option<&String>, cause: Option<&String>) {
        self.polling("FAILED");
        let said: Vec<&str> =
            [error, cause].into_iter().flatten().map(|said| said.trim()).filter(|s| !s.is_empty()).collect();
        let reason =
            if said.is_empty() { "the execution gave no cause".to_owned() } else { text::reason(&said.join(": ")) };
        self.verdict = Some(Verdict::Failed { code, reason });
    }

    fn infra_completed(&mut self, output: &Value) {
        self.polling("ENSURE_INFRA_COMPLETED");
        let learned = &mut self.learned;
        learned.cluster_name = find_text(output, "clusterName");
        learned.service_name = find_text(output, "serviceName");
        learned.task_definition = find_text(output, "taskDefinition");
        self.events.push(
            Event::new(EventCode::InfraCompleted)
                .with_known("cluster_name", learned.cluster_name.as_deref())
                .with_known("service_name", learned.service_name.as_deref())
                .with_known("task_definition", learned.task_definition.as_deref()),
        );
    }

    fn registered(&mut self, output: &Value) {
        self.polling("REGISTER_TASK_COMPLETED");
        let (blue, green) = (find(output, "blueService"), find(output, "greenService"));
        let within = |service: &Option<Value>, key: &str| service.as_ref().and_then(|service| find_text(service, key));
        let learned = Facts {
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
        if let Some(url) = &learned.blue_url {
            self.events.push(Event::new(EventCode::BlueRunning).with("blue_url", url.as_str()));
        }
        if let Some(url) = &learned.green_url {
            self.events.push(Event::new(EventCode::GreenReady).with("green_url", url.as_str()));
        }
        self.events.push(
            Event::new(EventCode::BlueGreenInProgress)
                .with_known("cluster_name", learned.cluster_name.as_deref())
                .with_known("service_name", learned.service_name.as_deref())
                .with_known("blue_service_arn", learned.blue_service_arn.as_deref())
                .with_known("blue_url", learned.blue_url.as_deref())
                .with_known("green_service_arn", learned.green_service_arn.as_deref())
                .with_known("green_url", learned.green_url.as_deref())
                .with_known("code_deploy_deployment_id", learned.code_deploy_deployment_id.as_deref())
                .with_known("code_deploy_application_name", learned.code_deploy_application_name.as_deref()),
        );
        self.learned.merge(learned);
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
        self.learned.merge(Facts {
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

/// CodeDeploy's id, as `codeDeployDeploymentId`, or as a `deploymentId` that looks like one of CodeDeploy's.
fn find_code_deploy_id(output: &Value) -> Option<String> {
    find_text(output, "codeDeployDeploymentId").or_else(|| {
        walk(output, &mut |object| {
            object.get("deploymentId").filter(|id| id.as_str().is_some_and(|id| id.starts_with("d-"))).cloned()
        })
        .and_then(|id| id.as_str().map(str::to_owned))
    })
}

/// A service's URL is shown to everybody: a user and password in it are not.
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
    // No name, ARN or URL is empty, endless or has control characters: such a value is as good as none.
    let usable = |text: &str| !text.is_empty() && text.len() <= MAX_VALUE_BYTES && !text.contains(char::is_control);
    walk(output, &mut |object| object.get(key).filter(|value| value.as_str().is_some_and(usable)).cloned())
        .and_then(|value| value.as_str().map(str::to_owned))
}

fn find(output: &Value, key: &str) -> Option<Value> {
    walk(output, &mut |object| object.get(key).filter(|value| !value.is_null()).cloned())
}

/// Visits the objects of `output`, shallowest first, since a result path may nest them and a Lambda task wraps them in `Payload`
/// (itself an object, or JSON in a string); the first answer wins.
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

/// Levels of nesting that are looked into: an output is small, but it is not ours.
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

    fn codes(reading: &Reading) -> Vec<&'static str> {
        reading.events.iter().map(|event| event.code.as_str()).collect()
    }

    fn read_all(history: &[HistoryEvent]) -> Reading {
        read(history, &Names::default(), false)
    }

    #[test]
    fn a_whole_pipeline_is_told_in_order_up_to_the_approval() {
        let reading = read_all(&[
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
            codes(&reading),
            [
                "infra_started",
                "infra_completed",
                "blue_green_started",
                "blue_running",
                "green_ready",
                "blue_green_in_progress"
            ]
        );
        assert_eq!(reading.verdict, Some(Verdict::WaitingApproval));
        let learned = reading.learned;
        assert_eq!(learned.last_history_event_id, Some(7), "what comes after the decision is not acted on");
        assert_eq!(learned.code_deploy_deployment_id.as_deref(), Some("d-ABC"));
        assert_eq!(learned.green_url.as_deref(), Some("http://g"));
        assert_eq!(learned.green_target_group_arn.as_deref(), Some("arn:tg"));
        assert_eq!(learned.polling_state.as_deref(), Some("DEPLOYMENT_READY"));
    }

    #[test]
    fn a_quiet_execution_decides_nothing() {
        assert_eq!(read_all(&[]), Reading::default());
        let reading = read_all(&[
            entered(9, "CheckDeployment"),
            exited(10, "CheckDeployment", &json!({"status": "IN_PROGRESS"})),
        ]);
        assert_eq!((reading.verdict, reading.learned.last_history_event_id), (None, Some(10)));
    }

    #[test]
    fn an_exit_after_a_catch_is_not_a_success_even_in_the_next_poll() {
        let first = read_all(&[entered(2, "EnsureInfra"), HistoryEvent { id: 3, kind: HistoryKind::TaskFailed }]);
        assert!(first.task_failed);
        let second = read(&[exited(4, "EnsureInfra", &json!({"Error": "x"}))], &Names::default(), first.task_failed);
        assert_eq!(codes(&second), Vec::<&str>::new());
        assert!(!second.task_failed);
    }

    #[test]
    fn a_retried_task_that_succeeds_is_a_success() {
        let reading = read_all(&[
            HistoryEvent { id: 3, kind: HistoryKind::TaskFailed },
            HistoryEvent { id: 4, kind: HistoryKind::TaskSucceeded },
            exited(5, "EnsureInfra", &json!({})),
        ]);
        assert_eq!(codes(&reading), ["infra_completed"]);
    }

    #[test]
    fn an_approval_of_another_stage_is_not_ours() {
        let output = json!({"status": "WAITING_APPROVAL", "stage": "SECURITY_REVIEW"});
        assert_eq!(read_all(&[exited(1, "CheckDeployment", &output)]).verdict, None);
    }

    #[test]
    fn the_executions_own_error_and_cause_are_kept() {
        let kind = HistoryKind::Failed { error: Some("States.TaskFailed".into()), cause: Some("no capacity".into()) };
        let reading = read_all(&[HistoryEvent { id: 4, kind }]);
        let reason = "States.TaskFailed: no capacity".to_owned();
        assert_eq!(reading.verdict, Some(Verdict::Failed { code: ErrorCode::ExecutionFailed, reason }));
        assert_eq!(reading.learned.polling_state.as_deref(), Some("FAILED"));
    }

    #[test]
    fn success_without_approval_is_the_rare_path() {
        assert_eq!(read_all(&[HistoryEvent { id: 4, kind: HistoryKind::Succeeded }]).verdict, Some(Verdict::Succeeded));
    }

    #[test]
    fn outputs_that_are_no_json_are_survived() {
        let kind = HistoryKind::StateExited { name: "RegisterTaskAndDeploy".into(), output: Some("{oops".into()) };
        assert_eq!(codes(&read_all(&[HistoryEvent { id: 1, kind }])), ["blue_green_in_progress"]);
    }
}
