//! Executions that end without an approval that Panda understands: CodeDeploy decides.

use panda::clients::aws::CodeDeployStatus;
use panda::domain::ErrorCode;
use panda::domain::connection::{AwsCredentials, AwsKeys};
use panda_sandbox::{Faults, ShiftFault};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::failures::{failed_as, fails, said};
use super::retry::retry;
use super::{Replica, codes, deploy, events, status};
use crate::support::commands::Commands;
use crate::support::environment::Environment;
use crate::support::environment::InProcess as _;
use crate::support::wait_for;

/// A history whose registration returns `registered` and whose check returns `checked` (or nothing), and which then succeeds.
pub fn unapproved(registered: &Value, checked: Option<&Value>) -> Vec<Value> {
    let mut history = vec![json!({"id": 1, "previousEventId": 0, "type": "ExecutionStarted"})];
    let mut add = |kind: &str, key: &str, details: Value| {
        let id = history.len() + 1;
        history.push(json!({"id": id, "previousEventId": id - 1, "type": kind, key: details}));
    };
    let states = [
        ("EnsureInfra", Some(json!({}))),
        ("RegisterTaskAndDeploy", Some(registered.clone())),
        ("CheckDeployment", checked.cloned()),
    ];
    for (name, output) in states {
        add("TaskStateEntered", "stateEnteredEventDetails", json!({"name": name}));
        add("TaskSucceeded", "taskSucceededEventDetails", json!({"resourceType": "lambda", "resource": "invoke"}));
        let mut details = json!({"name": name});
        if let Some(output) = output {
            details["output"] = json!(output.to_string());
        }
        add("TaskStateExited", "stateExitedEventDetails", details);
    }
    add("ExecutionSucceeded", "executionSucceededEventDetails", json!({}));
    history
}

fn with_id() -> Value {
    json!({"codeDeployDeploymentId": "{codeDeployDeploymentId}"})
}

/// Continues the deployment as someone does in the console, once it waits, and waits until it has left the status `InProgress`.
async fn continue_outside(env: &Environment, id: &str) {
    let services = env.services().await;
    let keys = env.sandbox.user_credentials();
    let keys = AwsKeys {
        access_key_id: keys.access_key_id.clone(),
        secret_access_key: SecretString::from(keys.secret_access_key.expose_secret()),
        session_token: None,
    };
    let user = services.aws.user("console", env.sandbox.region(), &AwsCredentials::Keys(keys));
    wait_for("CodeDeploy waits", async || {
        (user.codedeploy.deployment(id).await.unwrap().status == CodeDeployStatus::Ready).then_some(())
    })
    .await;
    user.codedeploy.continue_deployment(id).await.unwrap();
    wait_for("CodeDeploy shifts the traffic", async || {
        let lifecycle = user.codedeploy.lifecycle(id).await.unwrap();
        lifecycle
            .iter()
            .find(|event| event.name == "AllowTraffic" && ["Succeeded", "Failed"].contains(&event.status.as_str()))
            .map(drop)
    })
    .await;
}

fn scripted(history: Vec<Value>) -> Faults {
    Faults { histories: [("*".to_owned(), history)].into(), ..Faults::default() }
}

#[tokio::test]
async fn execution_succeeded__waiting_code_deploy_is_ready() {
    let env = Environment::start().await;
    env.sandbox.faults().set(scripted(unapproved(&with_id(), Some(&json!({"answer": "not understood"})))));
    let replica = Replica::start(&env, &[]);
    let id = deploy(&env, "main").await;
    let ready = status(&env, &id, &["DEPLOYMENT_READY", "COMPLETED"]).await;
    assert_eq!(
        (ready.status.as_str(), ready.facts.polling_state.as_deref()),
        ("DEPLOYMENT_READY", Some("DEPLOYMENT_READY"))
    );
    env.db.db.request_switch(&id).await.unwrap();
    env.db.db.notify_work(&id).await.unwrap();
    status(&env, &id, &["COMPLETED"]).await;
    replica.stop().await;
}

#[tokio::test]
async fn execution_succeeded__traffic_on_green_completes() {
    let env = Environment::start().await;
    let mut history = unapproved(&with_id(), None);
    let end = history.pop().unwrap();
    env.sandbox.faults().set(scripted(history.clone()));
    let replica = Replica::start(&env, &[]);
    let id = deploy(&env, "main").await;
    let code_deploy = wait_for("the registration is read", async || {
        env.db.db.deployment(&id).await.unwrap().unwrap().facts.code_deploy_deployment_id
    })
    .await;
    // The switch happens outside Panda, before the execution ends.
    continue_outside(&env, &code_deploy).await;
    history.push(end);
    env.sandbox.faults().set(scripted(history));
    let done = status(&env, &id, &["COMPLETED"]).await;
    assert_eq!(done.facts.final_service.as_deref(), Some("green"));
    let emitted = events(&env, &id).await;
    assert!(!codes(&emitted).contains(&"awaiting_switch"), "{emitted:?}");
    replica.stop().await;
}

#[tokio::test]
async fn execution_succeeded__failed_code_deploy_fails() {
    let env = Environment::start().await;
    let mut history = unapproved(&with_id(), None);
    let end = history.pop().unwrap();
    let shift = ShiftFault::Fail { code: "HEALTH_CONSTRAINTS".into(), message: "targets are unhealthy".into() };
    let shifts = [("*".to_owned(), shift)].into();
    env.sandbox.faults().set(Faults { shifts, ..scripted(history.clone()) });
    let replica = Replica::start(&env, &[]);
    let id = deploy(&env, "main").await;
    let code_deploy = wait_for("the registration is read", async || {
        env.db.db.deployment(&id).await.unwrap().unwrap().facts.code_deploy_deployment_id
    })
    .await;
    continue_outside(&env, &code_deploy).await;
    history.push(end);
    env.sandbox.faults().update(|faults| faults.histories = [("*".to_owned(), history)].into());
    failed_as(&env, &id, ErrorCode::SwitchFailed).await;
    let said = said(&env, &id).await;
    assert!(said.contains("targets are unhealthy") && said.contains("CheckDeployment is absent"), "{said}");
    replica.stop().await;
}

/// The text of the failure of a deployment with this history, as an invalid output.
async fn invalid(history: Vec<Value>) -> String {
    let env = Environment::start().await;
    env.sandbox.faults().set(scripted(history));
    let failed = fails(&env, &[], "main", ErrorCode::ExecutionOutputInvalid).await;
    assert_eq!(failed.facts.polling_state.as_deref(), Some("FAILED"));
    let emitted = events(&env, &failed.id).await;
    assert!(codes(&emitted).contains(&"blue_green_in_progress"), "the events before the failure are kept: {emitted:?}");
    said(&env, &failed.id).await
}

#[tokio::test]
async fn execution_succeeded__without_id_and_status_is_invalid() {
    let said = invalid(unapproved(&json!({}), Some(&json!({"answer": 42})))).await;
    assert!(said.contains("codeDeployDeploymentId") && said.contains("answer"), "{said}");
}

#[tokio::test]
async fn execution_succeeded__unknown_id_is_invalid() {
    let said = invalid(unapproved(&json!({"codeDeployDeploymentId": "d-NOBODY123"}), None)).await;
    assert!(said.contains("has no CodeDeploy deployment d-NOBODY123"), "{said}");
}

#[tokio::test]
async fn approval__id_of_wrong_kind_is_invalid() {
    let approval = json!({"status": "WAITING_APPROVAL", "stage": "CHECK_DEPLOYMENT"});
    let said = invalid(unapproved(&json!({"codeDeployDeploymentId": "ecs-svc/123"}), Some(&approval))).await;
    assert!(said.contains("ecs-svc/123"), "{said}");
}

#[tokio::test]
async fn approval__without_id_keeps_events() {
    let approval = json!({"status": "WAITING_APPROVAL", "stage": "CHECK_DEPLOYMENT"});
    let said = invalid(unapproved(&json!({}), Some(&approval))).await;
    assert!(said.contains("codeDeployDeploymentId"), "{said}");
}

#[tokio::test]
async fn history__stops_at_gap_until_it_is_visible() {
    let env = Environment::start().await;
    let whole = unapproved(&with_id(), None);
    let mut gap = whole.clone();
    gap.remove(6);
    env.sandbox.faults().set(scripted(gap));
    let replica = Replica::start(&env, &[]);
    let id = deploy(&env, "main").await;
    wait_for("the gap is reached", async || {
        let row = env.db.db.deployment(&id).await.unwrap().unwrap();
        row.waiting_for.is_some_and(|why| why.contains("event 7")).then_some(())
    })
    .await;
    env.sandbox.faults().set(scripted(whole));
    status(&env, &id, &["DEPLOYMENT_READY"]).await;
    assert!(codes(&events(&env, &id).await).contains(&"blue_green_in_progress"));
    replica.stop().await;
}

#[tokio::test]
async fn execution_succeeded__caught_failure_of_check_fails() {
    let env = Environment::start().await;
    let mut history = unapproved(&json!({}), Some(&json!({"status": "SUCCEEDED"})));
    let check = history.len() - 3;
    history[check] = json!({"id": check + 1, "previousEventId": check, "type": "TaskFailed",
        "taskFailedEventDetails": {"error": "CheckError", "cause": "no target", "resourceType": "lambda", "resource": "invoke"}});
    env.sandbox.faults().set(scripted(history));
    let failed = fails(&env, &[], "main", ErrorCode::ExecutionOutputInvalid).await;
    let said = said(&env, &failed.id).await;
    assert!(said.contains("CheckError: no target"), "{said}");
}

/// A retry of an execution that was read to its end does not wait for more of it.
#[tokio::test]
async fn retry__execution_read_to_its_end_starts_again() {
    let env = Environment::start().await;
    env.sandbox.faults().set(scripted(unapproved(&json!({}), None)));
    let replica = Replica::start(&env, &[]);
    let id = deploy(&env, "main").await;
    failed_as(&env, &id, ErrorCode::ExecutionOutputInvalid).await;
    env.sandbox.faults().clear();
    retry(&env, &id).await;
    status(&env, &id, &["DEPLOYMENT_READY"]).await;
    replica.stop().await;
}
