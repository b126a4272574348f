//! The switch from a real blue to a real green, and what stops it.

use std::time::Duration;

use aws_sdk_codedeploy::types::{DeploymentInfo, DeploymentStatus, DeploymentWaitType, LifecycleEventStatus};
use aws_sdk_sfn::types::{ExecutionListItem, ExecutionStatus, HistoryEventType as Type};
use pretty_assertions::assert_eq;
use serde_json::Value;

use super::bench::{App, Bench, brisk, containers, fetch};
use crate::support::wait_for;

const REPOSITORY: &str = "acme-hello";

/// A push that has come as far as its approval.
struct Waiting {
    arn: String,
    id: String,
    production: String,
    test: String,
}

async fn deploy(bench: &mut Bench, version: &'static str) -> Waiting {
    let digest = bench.push(REPOSITORY, App::Hello(version)).await;
    let arn = bench.execution_of(REPOSITORY, &digest).await;
    let approval = bench.approval(&arn).await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    Waiting {
        arn,
        id: text(&approval["deploymentId"]),
        production: text(&approval["blueUrl"]),
        test: text(&approval["greenUrl"]),
    }
}

async fn info(bench: &Bench, id: &str) -> DeploymentInfo {
    bench.codedeploy().get_deployment().deployment_id(id).send().await.unwrap().deployment_info.unwrap()
}

async fn becomes(bench: &Bench, id: &str, status: DeploymentStatus) {
    wait_for(status.as_str(), async || info(bench, id).await.status.unwrap() == status).await;
}

async fn proceed(bench: &Bench, id: &str) {
    let call = bench.codedeploy().continue_deployment().deployment_id(id);
    call.deployment_wait_type(DeploymentWaitType::ReadyWait).send().await.unwrap();
}

async fn serves(url: &str, version: &str) {
    wait_for(&format!("{version} is served"), async || fetch(url).await == (200, format!("{version}\n"))).await;
}

async fn phase(bench: &Bench, id: &str, name: &str) -> LifecycleEventStatus {
    let client = bench.codedeploy();
    let ids = client.list_deployment_targets().deployment_id(id).send().await.unwrap();
    let call = client.batch_get_deployment_targets().deployment_id(id).set_target_ids(ids.target_ids);
    let targets = call.send().await.unwrap().deployment_targets.unwrap();
    let events = targets[0].ecs_target().unwrap().lifecycle_events();
    events.iter().find(|event| event.lifecycle_event_name() == Some(name)).unwrap().status().unwrap().clone()
}

#[tokio::test]
async fn continue_deployment_moves_production_from_a_real_blue_to_a_real_green() {
    let mut bench = Bench::with(brisk(), Some(App::Hello("v1"))).await;
    bench.link(REPOSITORY).await;
    let waiting = deploy(&mut bench, "v2").await;
    serves(&waiting.production, "v1").await;
    serves(&waiting.test, "v2").await;
    assert_eq!(info(&bench, &waiting.id).await.status, Some(DeploymentStatus::Ready));
    assert_eq!(phase(&bench, &waiting.id, "AllowTraffic").await, LifecycleEventStatus::Pending);

    proceed(&bench, &waiting.id).await;
    serves(&waiting.production, "v2").await;
    assert_eq!(phase(&bench, &waiting.id, "AllowTraffic").await, LifecycleEventStatus::Succeeded);
    becomes(&bench, &waiting.id, DeploymentStatus::Succeeded).await;
    assert_eq!(bench.end_of(&waiting.arn).await.r#type, Type::ExecutionSucceeded);
    let effects = bench.sandbox.effects(REPOSITORY);
    assert_eq!((effects.continued[&waiting.id], effects.shifted[&waiting.id]), (1, 1));

    // Green is the next one's blue.
    let next = deploy(&mut bench, "v3").await;
    assert_eq!(next.production, waiting.production);
    serves(&next.production, "v2").await;
    serves(&next.test, "v3").await;
    bench.end().await;
}

#[tokio::test]
async fn a_second_continue_is_refused_and_changes_nothing() {
    let timing = panda::sandbox::Timing { traffic_shift: Duration::from_secs(1), ..brisk() };
    let mut bench = Bench::with(timing, None).await;
    bench.link(REPOSITORY).await;
    let waiting = deploy(&mut bench, "v1").await;
    proceed(&bench, &waiting.id).await;
    let call = || bench.codedeploy().continue_deployment().deployment_id(&waiting.id);
    let early = call().send().await.unwrap_err().into_service_error();
    assert!(early.is_deployment_is_not_in_ready_state_exception(), "{early:?}");
    becomes(&bench, &waiting.id, DeploymentStatus::Succeeded).await;
    let late = call().send().await.unwrap_err().into_service_error();
    assert!(late.is_deployment_already_completed_exception(), "{late:?}");
    let absent = bench.codedeploy().continue_deployment().deployment_id("d-NOTTHERE1").send().await.unwrap_err();
    assert!(absent.into_service_error().is_deployment_does_not_exist_exception());
    assert_eq!(bench.sandbox.effects(REPOSITORY).shifted[&waiting.id], 1);
    bench.end().await;
}

#[tokio::test]
async fn a_deployment_stopped_before_the_switch_leaves_production_on_blue_and_fails_the_execution() {
    let mut bench = Bench::with(brisk(), Some(App::Hello("v1"))).await;
    bench.link(REPOSITORY).await;
    let waiting = deploy(&mut bench, "v2").await;
    let answer = bench.codedeploy().stop_deployment().deployment_id(&waiting.id).send().await.unwrap();
    assert_eq!(answer.status().unwrap().as_str(), "Pending");
    becomes(&bench, &waiting.id, DeploymentStatus::Stopped).await;
    let end = bench.end_of(&waiting.arn).await;
    assert_eq!(end.execution_failed_event_details().unwrap().error(), Some("DeploymentStopped"));
    serves(&waiting.production, "v1").await;
    assert_eq!(fetch(&waiting.test).await.0, 503);
    bench.end().await;
}

#[tokio::test]
async fn a_deployment_stopped_after_the_switch_is_rolled_back_by_a_new_one() {
    let timing = panda::sandbox::Timing { termination_wait: Duration::from_hours(1), ..brisk() };
    let mut bench = Bench::with(timing, Some(App::Hello("v1"))).await;
    bench.link(REPOSITORY).await;
    let waiting = deploy(&mut bench, "v2").await;
    proceed(&bench, &waiting.id).await;
    serves(&waiting.production, "v2").await;
    // Not Succeeded: blue is kept for the termination wait, though the traffic is on green.
    assert_eq!(info(&bench, &waiting.id).await.status, Some(DeploymentStatus::InProgress));
    bench.codedeploy().stop_deployment().deployment_id(&waiting.id).send().await.unwrap();
    becomes(&bench, &waiting.id, DeploymentStatus::Stopped).await;
    serves(&waiting.production, "v1").await;
    let rollback = info(&bench, &waiting.id).await.rollback_info.unwrap().rollback_deployment_id.unwrap();
    assert_eq!(
        info(&bench, &rollback).await.rollback_info.unwrap().rollback_triggering_deployment_id,
        Some(waiting.id)
    );
    bench.end().await;
}

#[tokio::test]
async fn a_newer_push_takes_the_place_of_a_deployment_that_still_waits() {
    let mut bench = Bench::start().await;
    bench.link(REPOSITORY).await;
    let first = deploy(&mut bench, "v1").await;
    let second = deploy(&mut bench, "v2").await;
    assert_eq!(info(&bench, &first.id).await.status, Some(DeploymentStatus::Stopped));
    assert_eq!(bench.end_of(&first.arn).await.r#type, Type::ExecutionFailed);
    serves(&second.test, "v2").await;
    proceed(&bench, &second.id).await;
    serves(&second.production, "v2").await;
    bench.end().await;
}

#[tokio::test]
async fn no_container_outlives_the_sandbox() {
    let mut bench = Bench::with(brisk(), Some(App::Hello("v1"))).await;
    bench.link(REPOSITORY).await;
    let waiting = deploy(&mut bench, "v2").await;
    serves(&waiting.test, "v2").await;
    assert_eq!(containers(&bench.engine, &bench.sandbox.container_label()).await, 2);
    // Ending looks for containers that are left.
    bench.end().await;
}

#[tokio::test]
async fn no_container_outlives_a_handle_that_is_dropped() {
    let mut bench = Bench::with(brisk(), Some(App::Hello("v1"))).await;
    bench.link(REPOSITORY).await;
    deploy(&mut bench, "v2").await;
    let label = bench.sandbox.container_label();
    let rest = bench.drop_sandbox();
    assert_eq!(containers(&rest.engine, &label).await, 0);
    rest.end().await;
}

#[tokio::test]
async fn the_termination_wait_can_be_cut_short_and_deployments_are_listed() {
    let timing = panda::sandbox::Timing { termination_wait: Duration::from_hours(1), ..brisk() };
    let mut bench = Bench::with(timing, None).await;
    bench.link(REPOSITORY).await;
    let waiting = deploy(&mut bench, "v1").await;
    let client = bench.codedeploy();
    let terminate = || {
        let call = client.continue_deployment().deployment_id(&waiting.id);
        call.deployment_wait_type(DeploymentWaitType::TerminationWait).send()
    };
    let early = terminate().await.unwrap_err().into_service_error();
    assert!(early.is_invalid_deployment_status_exception(), "{early:?}");
    proceed(&bench, &waiting.id).await;
    serves(&waiting.production, "v1").await;
    terminate().await.unwrap();
    becomes(&bench, &waiting.id, DeploymentStatus::Succeeded).await;

    let batch = client.batch_get_deployments().deployment_ids(&waiting.id).send().await.unwrap();
    let found = &batch.deployments_info()[0];
    assert!(found.complete_time().unwrap() >= found.create_time().unwrap());
    let list = client.list_deployments().application_name(found.application_name().unwrap());
    assert_eq!(list.send().await.unwrap().deployments(), [waiting.id]);
    bench.end().await;
}

#[tokio::test]
async fn executions_are_listed_newest_first_and_by_status() {
    let mut bench = Bench::start().await;
    bench.link(REPOSITORY).await;
    let digest = bench.push(REPOSITORY, App::Exits).await;
    let failed = bench.execution_of(REPOSITORY, &digest).await;
    bench.end_of(&failed).await;
    let running = deploy(&mut bench, "v1").await.arn;
    let client = bench.sfn();
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
    bench.end().await;
}
