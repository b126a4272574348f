//! The switch from a real blue to a real green, and its interruptions.

use std::time::Duration;

use aws_sdk_codedeploy::types::{DeploymentInfo, DeploymentStatus, DeploymentWaitType, LifecycleEventStatus};
use aws_sdk_sfn::types::{ExecutionListItem, ExecutionStatus, HistoryEventType as Type};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use super::harness::{App, Harness, brisk, containers, fetch};
use crate::support::wait_for;

const REPOSITORY: &str = "acme-hello";

/// A push whose execution waits for its approval.
struct Waiting {
    arn: String,
    id: String,
    production: String,
    test: String,
}

async fn deploy(harness: &mut Harness, version: &'static str) -> Waiting {
    let digest = harness.push(REPOSITORY, App::Hello(version)).await;
    let arn = harness.execution_of(REPOSITORY, &digest).await;
    let approval = harness.approval(&arn).await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    Waiting {
        arn,
        id: text(&approval["deploymentId"]),
        production: text(&approval["blueUrl"]),
        test: text(&approval["greenUrl"]),
    }
}

async fn info(harness: &Harness, id: &str) -> DeploymentInfo {
    harness.codedeploy().get_deployment().deployment_id(id).send().await.unwrap().deployment_info.unwrap()
}

async fn becomes(harness: &Harness, id: &str, status: DeploymentStatus) {
    wait_for(status.as_str(), async || info(harness, id).await.status.unwrap() == status).await;
}

async fn proceed(harness: &Harness, id: &str) {
    let call = harness.codedeploy().continue_deployment().deployment_id(id);
    call.deployment_wait_type(DeploymentWaitType::ReadyWait).send().await.unwrap();
}

async fn serves(url: &str, version: &str) {
    wait_for(&format!("{version} is served"), async || fetch(url).await == (200, format!("{version}\n"))).await;
}

async fn phase(harness: &Harness, id: &str, name: &str) -> LifecycleEventStatus {
    let client = harness.codedeploy();
    let ids = client.list_deployment_targets().deployment_id(id).send().await.unwrap();
    let call = client.batch_get_deployment_targets().deployment_id(id).set_target_ids(ids.target_ids);
    let targets = call.send().await.unwrap().deployment_targets.unwrap();
    let events = targets[0].ecs_target().unwrap().lifecycle_events();
    events.iter().find(|event| event.lifecycle_event_name() == Some(name)).unwrap().status().unwrap().clone()
}

#[tokio::test]
async fn sandbox_switch__continue_moves_production_to_green() {
    let mut harness = Harness::with(brisk(), Some(App::Hello("v1"))).await;
    harness.link(REPOSITORY).await;
    let waiting = deploy(&mut harness, "v2").await;
    serves(&waiting.production, "v1").await;
    serves(&waiting.test, "v2").await;
    assert_eq!(info(&harness, &waiting.id).await.status, Some(DeploymentStatus::Ready));
    assert_eq!(phase(&harness, &waiting.id, "AllowTraffic").await, LifecycleEventStatus::Pending);

    proceed(&harness, &waiting.id).await;
    serves(&waiting.production, "v2").await;
    assert_eq!(phase(&harness, &waiting.id, "AllowTraffic").await, LifecycleEventStatus::Succeeded);
    becomes(&harness, &waiting.id, DeploymentStatus::Succeeded).await;
    assert_eq!(harness.end_of(&waiting.arn).await.r#type, Type::ExecutionSucceeded);
    let effects = harness.sandbox.effects(REPOSITORY);
    assert_eq!((effects.continued[&waiting.id], effects.shifted[&waiting.id]), (1, 1));

    // Green is the next one's blue.
    let next = deploy(&mut harness, "v3").await;
    assert_eq!(next.production, waiting.production);
    serves(&next.production, "v2").await;
    serves(&next.test, "v3").await;
    harness.end().await;
}

#[tokio::test]
async fn sandbox_switch__second_continue_refused() {
    let timing = panda_sandbox::Timing { traffic_shift: Duration::from_secs(1), ..brisk() };
    let mut harness = Harness::with(timing, None).await;
    harness.link(REPOSITORY).await;
    let waiting = deploy(&mut harness, "v1").await;
    proceed(&harness, &waiting.id).await;
    let call = || harness.codedeploy().continue_deployment().deployment_id(&waiting.id);
    let early = call().send().await.unwrap_err().into_service_error();
    assert!(early.is_deployment_is_not_in_ready_state_exception(), "{early:?}");
    becomes(&harness, &waiting.id, DeploymentStatus::Succeeded).await;
    let late = call().send().await.unwrap_err().into_service_error();
    assert!(late.is_deployment_already_completed_exception(), "{late:?}");
    let absent = harness.codedeploy().continue_deployment().deployment_id("d-NOTTHERE1").send().await.unwrap_err();
    assert!(absent.into_service_error().is_deployment_does_not_exist_exception());
    assert_eq!(harness.sandbox.effects(REPOSITORY).shifted[&waiting.id], 1);
    harness.end().await;
}

#[tokio::test]
async fn sandbox_switch__stop_before_switch_keeps_blue() {
    let mut harness = Harness::with(brisk(), Some(App::Hello("v1"))).await;
    harness.link(REPOSITORY).await;
    let waiting = deploy(&mut harness, "v2").await;
    let answer = harness.codedeploy().stop_deployment().deployment_id(&waiting.id).send().await.unwrap();
    assert_eq!(answer.status().unwrap().as_str(), "Pending");
    becomes(&harness, &waiting.id, DeploymentStatus::Stopped).await;
    let end = harness.end_of(&waiting.arn).await;
    assert_eq!(end.execution_failed_event_details().unwrap().error(), Some("DeploymentStopped"));
    serves(&waiting.production, "v1").await;
    assert_eq!(fetch(&waiting.test).await.0, 503);
    harness.end().await;
}

#[tokio::test]
async fn sandbox_switch__stop_after_switch_rolls_back() {
    let timing = panda_sandbox::Timing { termination_wait: Duration::from_hours(1), ..brisk() };
    let mut harness = Harness::with(timing, Some(App::Hello("v1"))).await;
    harness.link(REPOSITORY).await;
    let waiting = deploy(&mut harness, "v2").await;
    proceed(&harness, &waiting.id).await;
    serves(&waiting.production, "v2").await;
    // Not Succeeded: blue is kept for the termination wait, though traffic is on green.
    assert_eq!(info(&harness, &waiting.id).await.status, Some(DeploymentStatus::InProgress));
    harness.codedeploy().stop_deployment().deployment_id(&waiting.id).send().await.unwrap();
    becomes(&harness, &waiting.id, DeploymentStatus::Stopped).await;
    serves(&waiting.production, "v1").await;
    let rollback = info(&harness, &waiting.id).await.rollback_info.unwrap().rollback_deployment_id.unwrap();
    assert_eq!(
        info(&harness, &rollback).await.rollback_info.unwrap().rollback_triggering_deployment_id,
        Some(waiting.id)
    );
    harness.end().await;
}

#[tokio::test]
async fn sandbox_switch__newer_push_replaces_waiting_deployment() {
    let mut harness = Harness::start().await;
    harness.link(REPOSITORY).await;
    let first = deploy(&mut harness, "v1").await;
    let second = deploy(&mut harness, "v2").await;
    assert_eq!(info(&harness, &first.id).await.status, Some(DeploymentStatus::Stopped));
    assert_eq!(harness.end_of(&first.arn).await.r#type, Type::ExecutionFailed);
    serves(&second.test, "v2").await;
    proceed(&harness, &second.id).await;
    serves(&second.production, "v2").await;
    harness.end().await;
}

#[tokio::test]
async fn containers__removed_with_the_sandbox() {
    let mut harness = Harness::with(brisk(), Some(App::Hello("v1"))).await;
    harness.link(REPOSITORY).await;
    let waiting = deploy(&mut harness, "v2").await;
    serves(&waiting.test, "v2").await;
    assert_eq!(containers(&harness.engine, &harness.sandbox.container_label()).await, 2);
    // Ending checks for remaining containers.
    harness.end().await;
}

#[tokio::test]
async fn containers__removed_when_handle_dropped() {
    let mut harness = Harness::with(brisk(), Some(App::Hello("v1"))).await;
    harness.link(REPOSITORY).await;
    deploy(&mut harness, "v2").await;
    let label = harness.sandbox.container_label();
    let rest = harness.drop_sandbox();
    assert_eq!(containers(&rest.engine, &label).await, 0);
    rest.end().await;
}

#[tokio::test]
async fn sandbox_switch__termination_wait_skippable_and_deployments_listed() {
    let timing = panda_sandbox::Timing { termination_wait: Duration::from_hours(1), ..brisk() };
    let mut harness = Harness::with(timing, None).await;
    harness.link(REPOSITORY).await;
    let waiting = deploy(&mut harness, "v1").await;
    let client = harness.codedeploy();
    let terminate = || {
        let call = client.continue_deployment().deployment_id(&waiting.id);
        call.deployment_wait_type(DeploymentWaitType::TerminationWait).send()
    };
    let early = terminate().await.unwrap_err().into_service_error();
    assert!(early.is_invalid_deployment_status_exception(), "{early:?}");
    proceed(&harness, &waiting.id).await;
    serves(&waiting.production, "v1").await;
    terminate().await.unwrap();
    becomes(&harness, &waiting.id, DeploymentStatus::Succeeded).await;

    let batch = client.batch_get_deployments().deployment_ids(&waiting.id).send().await.unwrap();
    let found = &batch.deployments_info()[0];
    assert!(found.complete_time().unwrap() >= found.create_time().unwrap());
    let list = client
        .list_deployments()
        .application_name(found.application_name().unwrap())
        .deployment_group_name(found.deployment_group_name().unwrap());
    assert_eq!(list.send().await.unwrap().deployments(), [waiting.id]);
    harness.end().await;
}

#[tokio::test]
async fn executions__listed_newest_first_and_by_status() {
    let mut harness = Harness::start().await;
    harness.link(REPOSITORY).await;
    let digest = harness.push(REPOSITORY, App::Exits).await;
    let failed = harness.execution_of(REPOSITORY, &digest).await;
    harness.end_of(&failed).await;
    let running = deploy(&mut harness, "v1").await.arn;
    let client = harness.sfn();
    let described = client.describe_execution().execution_arn(&running).send().await.unwrap();
    let list = || client.list_executions().state_machine_arn(described.state_machine_arn());
    let arns =
        |executions: &[ExecutionListItem]| executions.iter().map(|one| one.execution_arn.clone()).collect::<Vec<_>>();
    let first = list().max_results(1).send().await.unwrap();
    assert_eq!(arns(first.executions()), [running.as_str()]);
    let second = list().max_results(1).set_next_token(first.next_token).send().await.unwrap();
    assert_eq!((arns(second.executions()), second.next_token), (vec![failed.clone()], None));
    let only = list().status_filter(ExecutionStatus::Failed).send().await.unwrap();
    assert_eq!(arns(only.executions()), [failed]);
    harness.end().await;
}

#[tokio::test]
async fn waiting_deployments__created_over_http_without_containers() {
    let harness = Harness::start().await;
    let url = harness.sandbox.control_url().join("waiting-deployments").unwrap();
    let client = reqwest::Client::new();
    let created = client.post(url.clone()).json(&json!({"repository": REPOSITORY, "count": 30})).send().await.unwrap();
    let created: Value = created.json().await.unwrap();
    let ids: Vec<String> = serde_json::from_value(created["deploymentIds"].clone()).unwrap();
    assert_eq!(ids.len(), 30);
    let batch = harness.codedeploy().batch_get_deployments().set_deployment_ids(Some(ids[..25].to_vec()));
    let seen = batch.send().await.unwrap().deployments_info.unwrap();
    assert!(seen.len() == 25 && seen.iter().all(|one| one.status == Some(DeploymentStatus::Ready)));
    assert_eq!(phase(&harness, &ids[29], "Install").await, LifecycleEventStatus::Succeeded);
    for bad in [
        json!({"repository": REPOSITORY, "count": 100_001}),
        json!({"count": 1}),
        json!({"repository": REPOSITORY, "count": -1}),
    ] {
        assert_eq!(client.post(url.clone()).json(&bad).send().await.unwrap().status(), 400, "{bad}");
    }
    harness.end().await;
}
