//! Each fault has its effect, and no other.

use std::collections::BTreeMap;

use aws_sdk_ecr::error::ProvideErrorMetadata as _;
use aws_sdk_eventbridge::types::Target;
use aws_sdk_sfn::types::{ExecutionStatus, HistoryEventType as Type};
use panda_sandbox::{
    CallFault, Effects, ExecutionFault, Faults, InjectedError, Lag, Outcome, PartialFailure, PlannedError, SecretFault,
    ShiftFault, Visibility,
};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use super::harness::{App, Harness, fetch, types};
use crate::dev_services::forget_image;
use crate::support::wait_for;

const REPOSITORY: &str = "acme-hello";

fn on_call(harness: &Harness, call: &str, fault: CallFault) {
    harness.sandbox.faults().update(|faults| {
        faults.calls.insert(call.to_owned(), fault);
    });
}

async fn code_of_describe(harness: &Harness) -> Option<String> {
    let answer = harness.ecr().describe_repositories().send().await;
    answer.err().map(|error| error.into_service_error().code().unwrap_or("no code").to_owned())
}

#[tokio::test]
async fn fault__throttle_fail_deny_refuse_a_number_of_times() {
    let harness = Harness::start().await;
    let call = "ecr:DescribeRepositories";
    let refusal = InjectedError { code: "KmsException".to_owned(), message: "no key".to_owned(), times: Some(1) };
    on_call(&harness, call, CallFault { throttle: 2, fail: 1, refuse: Some(refusal), ..CallFault::default() });
    let mut codes = Vec::new();
    for _ in 0..5 {
        codes.push(code_of_describe(&harness).await.unwrap_or_default());
    }
    assert_eq!(codes, ["ThrottlingException", "ThrottlingException", "InternalFailure", "KmsException", ""]);
    on_call(&harness, call, CallFault { deny: true, ..CallFault::default() });
    assert_eq!(code_of_describe(&harness).await.as_deref(), Some("AccessDeniedException"));
    let other = harness.ecr().get_authorization_token().send().await;
    assert!(other.is_ok(), "only the call that was named is denied");
    harness.sandbox.faults().clear();
    assert_eq!(code_of_describe(&harness).await, None);
    let count = harness.sandbox.all_effects().calls[call];
    assert_eq!((count.received, count.succeeded), (7, 2));
    harness.end().await;
}

#[tokio::test]
async fn fault__planned_errors_begin_and_end() {
    let harness = Harness::start().await;
    let refused = |after| PlannedError {
        code: Some("KmsException".to_owned()),
        after,
        times: Some(1),
        ..PlannedError::default()
    };
    on_call(&harness, "ecr:DescribeRepositories", CallFault { errors: vec![refused(2)], ..CallFault::default() });
    on_call(&harness, "ecr:*", CallFault { errors: vec![refused(3)], ..CallFault::default() });
    let mut codes = Vec::new();
    for _ in 0..6 {
        codes.push(code_of_describe(&harness).await.unwrap_or_default());
    }
    assert_eq!(
        codes,
        ["", "", "KmsException", "", "KmsException", ""],
        "a call that has met an error counts for no other"
    );
    harness.end().await;
}

#[tokio::test]
async fn fault__lost_reply_follows_effect() {
    let harness = Harness::start().await;
    on_call(&harness, "ecr:CreateRepository", CallFault { lose_reply: 1, ..CallFault::default() });
    let lost = harness.ecr().create_repository().repository_name(REPOSITORY).send().await.unwrap_err();
    assert!(lost.as_service_error().is_none(), "the connection ends without an answer: {lost:?}");
    assert_eq!(harness.sandbox.effects(REPOSITORY).created, 1);
    let again = harness.ecr().create_repository().repository_name(REPOSITORY).send().await.unwrap_err();
    assert!(again.into_service_error().is_repository_already_exists_exception());
    harness.end().await;
}

#[tokio::test]
async fn fault__put_targets_fails_inside_200() {
    let harness = Harness::start().await;
    harness.put_rule("rule", REPOSITORY).await;
    harness.sandbox.faults().update(|faults| {
        let failure = PartialFailure { code: "InternalFailure".into(), message: String::new(), times: Some(1) };
        faults.partial.insert("events:PutTargets".into(), failure);
    });
    let target = Target::builder().id("panda").arn(harness.sandbox.bus_arn());
    let target = target.role_arn(harness.sandbox.events_role()).build().unwrap();
    let answer = harness.events().put_targets().rule("rule").targets(target).send().await.unwrap();
    assert_eq!(answer.failed_entry_count(), 1);
    assert_eq!(answer.failed_entries()[0].target_id(), Some("panda"));
    let targets = harness.events().list_targets_by_rule().rule("rule").send().await.unwrap();
    assert_eq!(targets.targets().len(), 0);
    harness.put_target("rule").await;
    assert_eq!(harness.sandbox.effects(REPOSITORY).targets, BTreeMap::from([("rule/panda".to_owned(), 1)]));
    harness.end().await;
}

#[tokio::test]
async fn fault__unwritten_secret_keeps_previous_execution() {
    let mut harness = Harness::start().await;
    harness.link(REPOSITORY).await;
    let value = async |harness: &Harness| {
        let name = format!("panda/stepfunctions/{REPOSITORY}-latest-execution");
        harness.secrets().get_secret_value().secret_id(name).send().await.ok().and_then(|secret| secret.secret_string)
    };
    let first = harness.push(REPOSITORY, App::Exits).await;
    let first = harness.execution_of(REPOSITORY, &first).await;
    harness.end_of(&first).await;
    harness.sandbox.faults().update(|faults| faults.secret = SecretFault::NotWritten);
    let second = harness.push(REPOSITORY, App::Exits).await;
    let second = harness.execution_of(REPOSITORY, &second).await;
    harness.end_of(&second).await;
    assert!(value(&harness).await.unwrap().contains(&first));
    harness.end().await;
}

/// Status, error and last events of an execution with this outcome at a state.
async fn ends(outcome: Outcome) -> (ExecutionStatus, Option<String>, Vec<Type>) {
    let mut harness = Harness::start().await;
    harness.link(REPOSITORY).await;
    harness.sandbox.faults().update(|faults| {
        faults.executions.insert("*".to_owned(), ExecutionFault { state: "RegisterTaskAndDeploy".to_owned(), outcome });
    });
    let digest = harness.push(REPOSITORY, App::Hello("v1")).await;
    let arn = harness.execution_of(REPOSITORY, &digest).await;
    harness.end_of(&arn).await;
    let execution = harness.sfn().describe_execution().execution_arn(&arn).send().await.unwrap();
    let history = types(&harness.history(&arn).await);
    assert!(history.starts_with(&[Type::ExecutionStarted, Type::TaskStateEntered]));
    harness.end().await;
    (execution.status, execution.error, history[9..].to_vec())
}

fn broken() -> (String, String) {
    ("BuildFailed".to_owned(), "no capacity".to_owned())
}

#[tokio::test]
async fn fault__execution_fails_at_named_state() {
    let (error, cause) = broken();
    let (status, error, last) = ends(Outcome::Fail { error, cause }).await;
    assert_eq!((status, error.as_deref()), (ExecutionStatus::Failed, Some("BuildFailed")));
    assert_eq!(last, [Type::TaskFailed, Type::ExecutionFailed]);
}

#[tokio::test]
async fn fault__caught_failure_still_fails_execution() {
    let (error, cause) = broken();
    let (status, error, last) = ends(Outcome::Caught { error, cause }).await;
    assert_eq!((status, error.as_deref()), (ExecutionStatus::Failed, Some("BuildFailed")));
    assert_eq!(last, [Type::TaskFailed, Type::TaskStateExited, Type::FailStateEntered, Type::ExecutionFailed]);
}

#[tokio::test]
async fn fault__execution_times_out_or_aborts_at_named_state() {
    let (status, _, last) = ends(Outcome::TimeOut).await;
    assert_eq!((status, last), (ExecutionStatus::TimedOut, vec![Type::ExecutionTimedOut]));
    let (error, cause) = broken();
    let (status, error, last) = ends(Outcome::Abort { error, cause }).await;
    assert_eq!(
        (status, error.as_deref(), last),
        (ExecutionStatus::Aborted, Some("BuildFailed"), vec![Type::ExecutionAborted])
    );
}

#[tokio::test]
async fn fault__stuck_execution_resumes_and_repulls_image() {
    let mut harness = Harness::start().await;
    harness.link(REPOSITORY).await;
    let stuck = ExecutionFault { state: "EnsureInfra".to_owned(), outcome: Outcome::Stuck };
    harness
        .sandbox
        .faults()
        .set(Faults { executions: BTreeMap::from([(REPOSITORY.to_owned(), stuck)]), ..Faults::default() });
    let digest = harness.push(REPOSITORY, App::Hello("v1")).await;
    let arn = harness.execution_of(REPOSITORY, &digest).await;
    wait_for("the state is entered", async || harness.history(&arn).await.len() == 4).await;
    let image = harness.forget_last_image();
    forget_image(&harness.engine, &image).await;
    harness.sandbox.faults().clear();
    let approval = harness.approval(&arn).await;
    assert_eq!(fetch(approval["greenUrl"].as_str().unwrap()).await.1, "v1\n");
    harness.forget_pulled(REPOSITORY, &digest).await;
    harness.end().await;
}

#[tokio::test]
async fn fault__stopped_execution_leaves_code_deploy_deployment() {
    let mut harness = Harness::start().await;
    harness.link(REPOSITORY).await;
    let digest = harness.push(REPOSITORY, App::Hello("v1")).await;
    let arn = harness.execution_of(REPOSITORY, &digest).await;
    let approval = harness.approval(&arn).await;
    harness.sfn().stop_execution().execution_arn(&arn).error("CANCELLED").cause("by a user").send().await.unwrap();
    let end = harness.end_of(&arn).await;
    assert_eq!(end.execution_aborted_event_details().unwrap().error(), Some("CANCELLED"));
    // Stopping again is harmless.
    harness.sfn().stop_execution().execution_arn(&arn).send().await.unwrap();
    assert_eq!(harness.sandbox.effects(REPOSITORY).executions_stopped, 1);
    let id = approval["deploymentId"].as_str().unwrap();
    let info = harness.codedeploy().get_deployment().deployment_id(id).send().await.unwrap().deployment_info.unwrap();
    assert_eq!(info.status.unwrap().as_str(), "Ready");
    harness.end().await;
}

#[tokio::test]
async fn fault__failed_or_stopped_shift_leaves_blue() {
    let mut harness = Harness::start().await;
    harness.link(REPOSITORY).await;
    let failing =
        ShiftFault::Fail { code: "HEALTH_CONSTRAINTS".to_owned(), message: "targets are unhealthy".to_owned() };
    for (fault, status, error) in
        [(failing, "Failed", "DeploymentFailed"), (ShiftFault::Stop, "Stopped", "DeploymentStopped")]
    {
        harness.sandbox.faults().update(|faults| {
            faults.shifts.insert(REPOSITORY.to_owned(), fault);
        });
        let digest = harness.push(REPOSITORY, App::Hello("v1")).await;
        let arn = harness.execution_of(REPOSITORY, &digest).await;
        let approval = harness.approval(&arn).await;
        let id = approval["deploymentId"].as_str().unwrap();
        harness.codedeploy().continue_deployment().deployment_id(id).send().await.unwrap();
        let end = harness.end_of(&arn).await;
        assert_eq!(end.execution_failed_event_details().unwrap().error(), Some(error));
        let info =
            harness.codedeploy().get_deployment().deployment_id(id).send().await.unwrap().deployment_info.unwrap();
        assert_eq!(info.status.unwrap().as_str(), status);
        assert!(info.error_information.is_some());
        assert!(fetch(approval["blueUrl"].as_str().unwrap()).await.1.contains("placeholder"));
        assert_eq!(harness.sandbox.effects(REPOSITORY).shifted.len(), 0);
    }
    harness.end().await;
}

#[tokio::test]
async fn fault__history_lags_pages_and_wraps_payloads() {
    let mut harness = Harness::start().await;
    harness.link(REPOSITORY).await;
    harness.sandbox.faults().set(Faults {
        payload_as_text: true,
        check_again: 1,
        visibility: Visibility { history: Lag { delay_ms: 3_600_000, jitter_ms: 0 }, ..Visibility::default() },
        ..Faults::default()
    });
    let digest = harness.push(REPOSITORY, App::Hello("v1")).await;
    let arn = harness.execution_of(REPOSITORY, &digest).await;
    assert_eq!(harness.history(&arn).await.len(), 0);
    harness.sandbox.faults().update(|faults| {
        (faults.visibility, faults.history_page) = (Visibility::default(), Some(3));
    });
    let output = harness.output_of(&arn, "CheckDeployment").await;
    let payload: Value = serde_json::from_str(output["checkResult"]["Payload"].as_str().unwrap()).unwrap();
    assert_eq!(payload["status"], "WAITING_APPROVAL");
    let page = harness.sfn().get_execution_history().execution_arn(&arn).max_results(100).send().await.unwrap();
    assert_eq!((page.events().len(), page.next_token().is_some()), (3, true));
    let left = async || {
        let history = harness.history(&arn).await;
        let states = history.iter().filter_map(|event| event.state_exited_event_details());
        states.filter(|state| state.name == "CheckDeployment").count()
    };
    wait_for("the check is left a second time", async || left().await == 2).await;
    harness.end().await;
}

#[tokio::test]
async fn fault__set_and_observed_over_http() {
    let harness = Harness::start().await;
    harness.create_repository(REPOSITORY).await;
    let client = reqwest::Client::new();
    let url = |path: &str| harness.sandbox.control_url().join(path).unwrap();
    let faults = json!({"calls": {"ecr:DescribeRepositories": {"throttle": 1}}});
    assert_eq!(client.put(url("faults")).json(&faults).send().await.unwrap().status(), 200);
    assert_eq!(code_of_describe(&harness).await.as_deref(), Some("ThrottlingException"));
    let shown: Faults = client.get(url("faults")).send().await.unwrap().json().await.unwrap();
    assert_eq!(shown, harness.sandbox.faults().get());
    let elsewhere = json!({"state": "Build", "outcome": "stuck"});
    for (bad, named) in [
        (json!({"historyLag": 5}), "historyLag"),
        (json!({"calls": {"sfn:GetExecutionHistory": {"throttle": 1}}}), "sfn:GetExecutionHistory"),
        (json!({"executions": {"*": elsewhere}}), "Build"),
    ] {
        let refused = client.put(url("faults")).json(&bad).send().await.unwrap();
        assert_eq!(refused.status(), 400);
        assert!(refused.text().await.unwrap().contains(named));
    }
    let effects: Effects = client.get(url("effects")).send().await.unwrap().json().await.unwrap();
    assert_eq!(effects.repositories[REPOSITORY].created, 1);
    // Every user of the machine reaches the port.
    for guessed in ["/_sandbox/faults", "/_sandbox//faults", "/_sandbox/key/faults"] {
        let guessed = harness.sandbox.endpoint().join(guessed).unwrap();
        assert_ne!(client.put(guessed).json(&json!({})).send().await.unwrap().status(), 200);
    }
    assert_eq!(client.delete(url("faults")).send().await.unwrap().status(), 200);
    assert_eq!(harness.sandbox.faults().get(), Faults::default());
    harness.end().await;
}
