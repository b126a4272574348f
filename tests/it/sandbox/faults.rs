//! What is made to go wrong goes wrong, and only that.

use std::collections::BTreeMap;

use aws_sdk_ecr::error::ProvideErrorMetadata as _;
use aws_sdk_eventbridge::types::Target;
use aws_sdk_sfn::types::{ExecutionStatus, HistoryEventType as Type};
use panda::sandbox::{CallFault, Effects, ExecutionFault, Faults, Outcome, Refusal, SecretFault, ShiftFault};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use super::bench::{App, Bench, fetch, types};
use crate::parts::forget_image;
use crate::support::wait_for;

const REPOSITORY: &str = "acme-hello";

fn on_call(bench: &Bench, call: &str, fault: CallFault) {
    bench.sandbox.faults().update(|faults| {
        faults.calls.insert(call.to_owned(), fault);
    });
}

async fn code_of_describe(bench: &Bench) -> Option<String> {
    let answer = bench.ecr().describe_repositories().send().await;
    answer.err().map(|error| error.into_service_error().code().unwrap_or("no code").to_owned())
}

#[tokio::test]
async fn calls_are_throttled_failed_denied_and_refused_as_often_as_asked() {
    let bench = Bench::start().await;
    let call = "ecr:DescribeRepositories";
    let refusal = Refusal { code: "KmsException".to_owned(), message: "no key".to_owned(), times: Some(1) };
    on_call(&bench, call, CallFault { throttle: 2, fail: 1, refuse: Some(refusal), ..CallFault::default() });
    let mut codes = Vec::new();
    for _ in 0..5 {
        codes.push(code_of_describe(&bench).await.unwrap_or_default());
    }
    assert_eq!(codes, ["ThrottlingException", "ThrottlingException", "InternalFailure", "KmsException", ""]);
    on_call(&bench, call, CallFault { deny: true, ..CallFault::default() });
    assert_eq!(code_of_describe(&bench).await.as_deref(), Some("AccessDeniedException"));
    let other = bench.ecr().get_authorization_token().send().await;
    assert!(other.is_ok(), "only the call that was named is denied");
    bench.sandbox.faults().clear();
    assert_eq!(code_of_describe(&bench).await, None);
    let count = bench.sandbox.all_effects().calls[call];
    assert_eq!((count.received, count.succeeded), (7, 2));
    bench.end().await;
}

#[tokio::test]
async fn a_lost_reply_comes_after_the_effect() {
    let bench = Bench::start().await;
    on_call(&bench, "ecr:CreateRepository", CallFault { lose_reply: 1, ..CallFault::default() });
    let lost = bench.ecr().create_repository().repository_name(REPOSITORY).send().await.unwrap_err();
    assert!(lost.as_service_error().is_none(), "the connection ends without an answer: {lost:?}");
    assert_eq!(bench.sandbox.effects(REPOSITORY).created, 1);
    let again = bench.ecr().create_repository().repository_name(REPOSITORY).send().await.unwrap_err();
    assert!(again.into_service_error().is_repository_already_exists_exception());
    bench.end().await;
}

#[tokio::test]
async fn targets_can_fail_though_the_call_says_200() {
    let bench = Bench::start().await;
    bench.put_rule("rule", REPOSITORY).await;
    bench.sandbox.faults().update(|faults| faults.put_targets_failures = 1);
    let target = Target::builder().id("panda").arn(bench.sandbox.bus_arn()).build().unwrap();
    let answer = bench.events().put_targets().rule("rule").targets(target).send().await.unwrap();
    assert_eq!(answer.failed_entry_count(), 1);
    assert_eq!(answer.failed_entries()[0].target_id(), Some("panda"));
    let targets = bench.events().list_targets_by_rule().rule("rule").send().await.unwrap();
    assert_eq!(targets.targets().len(), 0);
    bench.put_target("rule").await;
    assert_eq!(bench.sandbox.effects(REPOSITORY).targets, BTreeMap::from([("rule/panda".to_owned(), 1)]));
    bench.end().await;
}

#[tokio::test]
async fn the_secret_keeps_the_previous_execution_when_it_is_not_written() {
    let mut bench = Bench::start().await;
    bench.link(REPOSITORY).await;
    let value = async |bench: &Bench| {
        let name = format!("panda/stepfunctions/{REPOSITORY}-latest-execution");
        bench.secrets().get_secret_value().secret_id(name).send().await.ok().and_then(|secret| secret.secret_string)
    };
    let first = bench.push(REPOSITORY, App::Exits).await;
    let first = bench.execution_of(REPOSITORY, &first).await;
    bench.end_of(&first).await;
    bench.sandbox.faults().update(|faults| faults.secret = SecretFault::NotWritten);
    let second = bench.push(REPOSITORY, App::Exits).await;
    let second = bench.execution_of(REPOSITORY, &second).await;
    bench.end_of(&second).await;
    assert!(value(&bench).await.unwrap().contains(&first));
    bench.end().await;
}

/// How an execution ends when it leaves the path at a state, and its last events.
async fn ends(outcome: Outcome) -> (ExecutionStatus, Option<String>, Vec<Type>) {
    let mut bench = Bench::start().await;
    bench.link(REPOSITORY).await;
    bench.sandbox.faults().update(|faults| {
        faults.executions.insert("*".to_owned(), ExecutionFault { state: "RegisterTaskAndDeploy".to_owned(), outcome });
    });
    let digest = bench.push(REPOSITORY, App::Hello("v1")).await;
    let arn = bench.execution_of(REPOSITORY, &digest).await;
    bench.end_of(&arn).await;
    let execution = bench.sfn().describe_execution().execution_arn(&arn).send().await.unwrap();
    let history = types(&bench.history(&arn).await);
    assert!(history.starts_with(&[Type::ExecutionStarted, Type::TaskStateEntered]));
    bench.end().await;
    (execution.status, execution.error, history[9..].to_vec())
}

fn broken() -> (String, String) {
    ("BuildFailed".to_owned(), "no capacity".to_owned())
}

#[tokio::test]
async fn an_execution_fails_at_the_named_state() {
    let (error, cause) = broken();
    let (status, error, last) = ends(Outcome::Fail { error, cause }).await;
    assert_eq!((status, error.as_deref()), (ExecutionStatus::Failed, Some("BuildFailed")));
    assert_eq!(last, [Type::TaskFailed, Type::ExecutionFailed]);
}

#[tokio::test]
async fn a_caught_failure_leaves_the_state_and_fails_all_the_same() {
    let (error, cause) = broken();
    let (status, error, last) = ends(Outcome::Caught { error, cause }).await;
    assert_eq!((status, error.as_deref()), (ExecutionStatus::Failed, Some("BuildFailed")));
    assert_eq!(last, [Type::TaskFailed, Type::TaskStateExited, Type::FailStateEntered, Type::ExecutionFailed]);
}

#[tokio::test]
async fn an_execution_times_out_or_is_aborted_at_the_named_state() {
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
async fn a_stuck_execution_goes_on_when_released_and_pulls_an_image_that_the_engine_lost() {
    let mut bench = Bench::start().await;
    bench.link(REPOSITORY).await;
    let stuck = ExecutionFault { state: "EnsureInfra".to_owned(), outcome: Outcome::Stuck };
    bench
        .sandbox
        .faults()
        .set(Faults { executions: BTreeMap::from([(REPOSITORY.to_owned(), stuck)]), ..Faults::default() });
    let digest = bench.push(REPOSITORY, App::Hello("v1")).await;
    let arn = bench.execution_of(REPOSITORY, &digest).await;
    wait_for("the state is entered", async || bench.history(&arn).await.len() == 4).await;
    let image = bench.forget_last_image();
    forget_image(&bench.engine, &image).await;
    bench.sandbox.faults().clear();
    let approval = bench.approval(&arn).await;
    assert_eq!(fetch(approval["greenUrl"].as_str().unwrap()).await.1, "v1\n");
    bench.forget_pulled(REPOSITORY, &digest).await;
    bench.end().await;
}

#[tokio::test]
async fn a_stopped_execution_is_aborted_and_its_deployment_stays() {
    let mut bench = Bench::start().await;
    bench.link(REPOSITORY).await;
    let digest = bench.push(REPOSITORY, App::Hello("v1")).await;
    let arn = bench.execution_of(REPOSITORY, &digest).await;
    let approval = bench.approval(&arn).await;
    bench.sfn().stop_execution().execution_arn(&arn).error("CANCELLED").cause("by a user").send().await.unwrap();
    let end = bench.end_of(&arn).await;
    assert_eq!(end.execution_aborted_event_details().unwrap().error(), Some("CANCELLED"));
    // Once more is harmless.
    bench.sfn().stop_execution().execution_arn(&arn).send().await.unwrap();
    assert_eq!(bench.sandbox.effects(REPOSITORY).executions_stopped, 1);
    let id = approval["deploymentId"].as_str().unwrap();
    let info = bench.codedeploy().get_deployment().deployment_id(id).send().await.unwrap().deployment_info.unwrap();
    assert_eq!(info.status.unwrap().as_str(), "Ready");
    bench.end().await;
}

#[tokio::test]
async fn a_shift_that_fails_or_is_stopped_leaves_production_on_blue() {
    let mut bench = Bench::start().await;
    bench.link(REPOSITORY).await;
    let failing =
        ShiftFault::Fail { code: "HEALTH_CONSTRAINTS".to_owned(), message: "targets are unhealthy".to_owned() };
    for (fault, status, error) in
        [(failing, "Failed", "DeploymentFailed"), (ShiftFault::Stop, "Stopped", "DeploymentStopped")]
    {
        bench.sandbox.faults().update(|faults| {
            faults.shifts.insert(REPOSITORY.to_owned(), fault);
        });
        let digest = bench.push(REPOSITORY, App::Hello("v1")).await;
        let arn = bench.execution_of(REPOSITORY, &digest).await;
        let approval = bench.approval(&arn).await;
        let id = approval["deploymentId"].as_str().unwrap();
        bench.codedeploy().continue_deployment().deployment_id(id).send().await.unwrap();
        let end = bench.end_of(&arn).await;
        assert_eq!(end.execution_failed_event_details().unwrap().error(), Some(error));
        let info = bench.codedeploy().get_deployment().deployment_id(id).send().await.unwrap().deployment_info.unwrap();
        assert_eq!(info.status.unwrap().as_str(), status);
        assert!(info.error_information.is_some());
        assert!(fetch(approval["blueUrl"].as_str().unwrap()).await.1.contains("placeholder"));
        assert_eq!(bench.sandbox.effects(REPOSITORY).shifted.len(), 0);
    }
    bench.end().await;
}

#[tokio::test]
async fn history_lags_comes_in_small_pages_and_wraps_payloads_as_text_when_asked() {
    let mut bench = Bench::start().await;
    bench.link(REPOSITORY).await;
    bench.sandbox.faults().set(Faults {
        payload_as_text: true,
        check_again: 1,
        history_lag_ms: 3_600_000,
        ..Faults::default()
    });
    let digest = bench.push(REPOSITORY, App::Hello("v1")).await;
    let arn = bench.execution_of(REPOSITORY, &digest).await;
    assert_eq!(bench.history(&arn).await.len(), 0);
    bench.sandbox.faults().update(|faults| (faults.history_lag_ms, faults.history_page) = (0, Some(3)));
    let output = bench.output_of(&arn, "CheckDeployment").await;
    let payload: Value = serde_json::from_str(output["checkResult"]["Payload"].as_str().unwrap()).unwrap();
    assert_eq!(payload["status"], "WAITING_APPROVAL");
    let page = bench.sfn().get_execution_history().execution_arn(&arn).max_results(100).send().await.unwrap();
    assert_eq!((page.events().len(), page.next_token().is_some()), (3, true));
    let left = async || {
        let history = bench.history(&arn).await;
        let states = history.iter().filter_map(|event| event.state_exited_event_details());
        states.filter(|state| state.name == "CheckDeployment").count()
    };
    wait_for("the check is left a second time", async || left().await == 2).await;
    bench.end().await;
}

#[tokio::test]
async fn another_process_sets_faults_and_reads_effects_over_http() {
    let bench = Bench::start().await;
    bench.create_repository(REPOSITORY).await;
    let client = reqwest::Client::new();
    let url = |path: &str| bench.sandbox.control_url().join(path).unwrap();
    let faults = json!({"calls": {"ecr:DescribeRepositories": {"throttle": 1}}});
    assert_eq!(client.put(url("faults")).json(&faults).send().await.unwrap().status(), 200);
    assert_eq!(code_of_describe(&bench).await.as_deref(), Some("ThrottlingException"));
    let shown: Faults = client.get(url("faults")).send().await.unwrap().json().await.unwrap();
    assert_eq!(shown, bench.sandbox.faults().get());
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
    // Everybody on the machine reaches the port.
    for guessed in ["/_sandbox/faults", "/_sandbox//faults", "/_sandbox/key/faults"] {
        let guessed = bench.sandbox.endpoint().join(guessed).unwrap();
        assert_ne!(client.put(guessed).json(&json!({})).send().await.unwrap().status(), 200);
    }
    assert_eq!(client.delete(url("faults")).send().await.unwrap().status(), 200);
    assert_eq!(bench.sandbox.faults().get(), Faults::default());
    bench.end().await;
}
