//! Whole deployments against moto.

use aws_sdk_ecr as ecr;
use aws_sdk_eventbridge as eventbridge;
use aws_sdk_sfn::types::ExecutionStatus;
use panda::db::deployments::DeploymentView;
use panda::domain::ErrorCode;
use panda::domain::names::{Names, permission_statement, push_event_pattern};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use super::Cloud;
use super::pipeline::{BUS, Pipeline, echo, held};
use super::stand_in::StandIn;
use crate::reconcile::{Replica, UNTIL_PUSHED, codes, deploy, events, status};
use crate::support::commands::Commands;
use crate::support::environment::{Environment, OWNER, hello};
use crate::support::wait_for;

fn replica(cloud: &Cloud) -> Replica {
    let flags = cloud.flags();
    Replica::start(&cloud.env, &flags.each_ref().map(String::as_str))
}

/// The three states of the contract, each held until its work is done.
fn held_machine(queue: &str) -> Value {
    json!({"StartAt": "EnsureInfra", "States": {
        "EnsureInfra": held("EnsureInfra", "infraResult", queue, Some("RegisterTaskAndDeploy")),
        "RegisterTaskAndDeploy": held("RegisterTaskAndDeploy", "deployResult", queue, Some("CheckDeployment")),
        "CheckDeployment": held("CheckDeployment", "checkResult", queue, None),
    }})
}

/// Waits until a poll has read up to this state.
async fn polled(env: &Environment, id: &str, state: &str) {
    wait_for(&format!("{id} is polled to {state}"), async || {
        let view = env.db.db.deployment(id).await.unwrap().unwrap();
        assert_eq!(view.status, "RUNNING", "{:?}", view.error_message);
        view.facts.polling_state.as_deref() == Some(state)
    })
    .await;
}

async fn text(url: &str) -> String {
    reqwest::get(url).await.unwrap().text().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn state_machine__followed_from_branch_to_green() {
    let cloud = Cloud::start(hello("3.1.0"), true).await;
    let env = &cloud.env;
    let pipeline = cloud.pipeline(held_machine).await;
    let stand_in = StandIn::link(env).await;
    let replica = replica(&cloud);
    let id = deploy(env, "main").await;

    let event = pipeline.pushed().await;
    assert_eq!(event["source"], "aws.ecr");
    assert_eq!(event["detail"]["repository-name"], env.ecr_repository().as_str());
    assert_eq!(event["detail"]["image-tag"], id.as_str());
    let execution = pipeline.start(&event, &env.ecr_repository()).await;

    // Each state is held until a poll has read its entry, so that the history is read in several pieces.
    let work = pipeline.work("EnsureInfra").await;
    assert_eq!(work.input["detail"]["image-digest"], event["detail"]["image-digest"]);
    polled(env, &id, "ENSURE_INFRA_IN_PROGRESS").await;
    let infra = stand_in.found("EnsureInfra", "infraResult").await;
    pipeline.done(work, &infra).await;

    let work = pipeline.work("RegisterTaskAndDeploy").await;
    polled(env, &id, "REGISTER_TASK_IN_PROGRESS").await;
    let registered = stand_in.found("RegisterTaskAndDeploy", "deployResult").await;
    pipeline.done(work, &registered).await;

    let work = pipeline.work("CheckDeployment").await;
    polled(env, &id, "REGISTER_TASK_COMPLETED").await;
    let checked = stand_in.found("CheckDeployment", "checkResult").await;
    pipeline.done(work, &checked).await;

    // The execution ends right after the approval, with ExecutionSucceeded, which must not be taken for the switch.
    assert_eq!(pipeline.end_of(&execution).await, ExecutionStatus::Succeeded);
    let ready = status(env, &id, &["DEPLOYMENT_READY", "COMPLETED"]).await;
    let emitted = events(env, &id).await;
    let mut expected = UNTIL_PUSHED.to_vec();
    expected.extend(["infra_started", "infra_completed", "blue_green_started", "blue_running", "green_ready"]);
    expected.extend(["blue_green_in_progress", "awaiting_switch", "ready"]);
    assert_eq!(codes(&emitted), expected);
    facts(&ready, &execution, &event, &registered);
    let infra_completed = emitted.iter().find(|event| event.code == "infra_completed").unwrap();
    assert_eq!(infra_completed.params["cluster_name"], infra["clusterName"]);
    let awaiting = emitted.iter().find(|event| event.code == "awaiting_switch").unwrap();
    assert_eq!(awaiting.params["green_target_group_arn"], checked["checkResult"]["greenTargetGroupArn"]);
    wiring(&cloud, &ready).await;

    let (blue, green) = (ready.facts.blue_url.unwrap(), ready.facts.green_url.unwrap());
    assert!(!text(&blue).await.contains("3.1.0"), "blue still has the traffic");
    assert!(text(&green).await.contains("3.1.0"));
    env.db.db.request_switch(&id).await.unwrap();
    env.db.db.notify_work(&id).await.unwrap();
    let done = status(env, &id, &["COMPLETED"]).await;
    assert_eq!(done.facts.final_service.as_deref(), Some("green"));
    assert!(text(&blue).await.contains("3.1.0"), "the production listener serves green");
    let emitted = events(env, &id).await;
    assert_eq!(codes(&emitted)[expected.len()..], ["switch_started", "deployment_completed", "completed"]);
    let seqs: Vec<i64> = emitted.iter().map(|event| event.seq).collect();
    assert_eq!(seqs, (1..=i64::try_from(emitted.len()).unwrap()).collect::<Vec<_>>());
    let effects = env.sandbox.effects(&env.ecr_repository());
    assert_eq!(effects.continued.values().sum::<u32>(), 1);
    replica.stop().await;
}

/// Asserts that the row contains the outputs of the states.
fn facts(ready: &DeploymentView, execution: &str, event: &Value, registered: &Value) {
    assert_eq!(ready.status, "DEPLOYMENT_READY");
    assert_eq!(ready.facts.polling_state.as_deref(), Some("DEPLOYMENT_READY"));
    assert_eq!(ready.facts.execution_arn.as_deref(), Some(execution));
    assert_eq!(ready.facts.image_digest.as_deref(), event["detail"]["image-digest"].as_str());
    assert_eq!(ready.facts.blue_url.as_deref(), registered["blueService"]["url"].as_str());
    assert_eq!(ready.facts.green_url.as_deref(), registered["greenService"]["url"].as_str());
    assert_eq!(ready.facts.blue_service_arn.as_deref(), registered["blueService"]["serviceArn"].as_str());
    assert_eq!(ready.facts.green_service_arn.as_deref(), registered["greenService"]["serviceArn"].as_str());
    assert_eq!(ready.facts.code_deploy_deployment_id.as_deref(), registered["codeDeployDeploymentId"].as_str());
    assert_eq!(ready.facts.green_error_rate, Some(0.0), "green was checked");
    assert!(ready.error_code.is_none() && ready.completed_at.is_none());
}

/// Asserts the objects that Panda created in moto, read back with the SDK.
async fn wiring(cloud: &Cloud, ready: &DeploymentView) {
    let env = &cloud.env;
    let repository = env.ecr_repository();
    let rules = eventbridge::Client::new(&cloud.user());
    let name = Names::default().rule(OWNER, &env.repo);
    let rule = rules.describe_rule().name(&name).send().await.unwrap();
    assert_eq!(rule.state, Some(eventbridge::types::RuleState::Enabled));
    let pattern = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    assert_eq!(pattern(rule.event_pattern().unwrap()), pattern(&push_event_pattern(&repository)));
    let bus = eventbridge::Client::new(&cloud.controller()).describe_event_bus().name(BUS).send().await.unwrap();
    let targets = rules.list_targets_by_rule().rule(&name).send().await.unwrap().targets.unwrap();
    assert_eq!(targets.len(), 1);
    assert_eq!((targets[0].id(), Some(targets[0].arn())), ("panda", bus.arn()));

    let account = env.sandbox.user_account_id();
    let policy = pattern(bus.policy().unwrap());
    let statement = &policy["Statement"][0];
    assert_eq!(statement["Sid"], permission_statement(account).as_str());
    assert_eq!(statement["Effect"], "Allow");
    assert_eq!(statement["Action"], "events:PutEvents");
    assert!(statement["Principal"]["AWS"].to_string().contains(account), "{statement}");

    let registry = ecr::Client::new(&cloud.user());
    let images = registry.describe_images().repository_name(&repository).send().await.unwrap().image_details.unwrap();
    assert_eq!(images.len(), 1);
    assert_eq!(images[0].image_digest, ready.facts.image_digest);
    assert_eq!(images[0].image_tags(), [ready.id.as_str()]);
    let found = registry.describe_repositories().repository_names(&repository).send().await.unwrap();
    let arn = found.repositories()[0].repository_arn().unwrap();
    assert!(arn.contains(account), "{arn} is in the user's account");
    let tags = registry.list_tags_for_resource().resource_arn(arn).send().await.unwrap().tags.unwrap();
    assert!(tags.iter().any(|tag| tag.key() == "panda:source" && tag.value() == format!("{OWNER}/{}", env.repo)));
}

/// Runs a deployment whose pipeline is `machine`, up to one of `ends`; `meanwhile` acts on its execution.
async fn runs(
    cloud: &Cloud,
    machine: impl FnOnce(&str) -> Value,
    meanwhile: impl AsyncFnOnce(&Pipeline, &str, &str),
    ends: &[&str],
) -> DeploymentView {
    let pipeline = cloud.pipeline(machine).await;
    let replica = replica(cloud);
    let id = deploy(&cloud.env, "main").await;
    let execution = pipeline.start(&pipeline.pushed().await, &cloud.env.ecr_repository()).await;
    meanwhile(&pipeline, &execution, &id).await;
    let ended = status(&cloud.env, &id, ends).await;
    assert_eq!(ended.facts.execution_arn, Some(execution));
    replica.stop().await;
    ended
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn state_machine__success_without_approval_completes() {
    let cloud = Cloud::start(hello("3.2.0"), false).await;
    let infra = json!({"clusterName": "c", "serviceName": "s", "taskDefinition": "arn:aws:ecs:::task-definition/t:1"});
    let registered = json!({
        "blueService": {"serviceArn": "arn:aws:ecs:::service/blue", "url": "http://blue.example.com"},
        "greenService": {"serviceArn": "arn:aws:ecs:::service/green", "url": "http://green.example.com"},
    });
    let checked = json!({"status": "SUCCEEDED", "stage": "CHECK_DEPLOYMENT"});
    let machine = json!({"StartAt": "EnsureInfra", "States": {
        "EnsureInfra": echo("EnsureInfra", "infraResult", &infra, Some("RegisterTaskAndDeploy")),
        "RegisterTaskAndDeploy": echo("RegisterTaskAndDeploy", "deployResult", &registered, Some("CheckDeployment")),
        "CheckDeployment": echo("CheckDeployment", "checkResult", &checked, None),
    }});
    let done = runs(&cloud, |_| machine, async |_, _, _| {}, &["COMPLETED"]).await;
    assert_eq!(done.facts.polling_state.as_deref(), Some("SUCCEEDED"));
    assert_eq!(done.facts.final_service.as_deref(), Some("green"));
    assert_eq!(done.facts.green_url.as_deref(), Some("http://green.example.com"));
    let mut expected = UNTIL_PUSHED.to_vec();
    expected.extend(["infra_started", "infra_completed", "blue_green_started", "blue_running", "green_ready"]);
    expected.extend(["blue_green_in_progress", "deployment_completed", "completed"]);
    assert_eq!(codes(&events(&cloud.env, &done.id).await), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn state_machine__caught_task_failure_reported() {
    let cloud = Cloud::start(hello("3.3.0"), false).await;
    let machine = |queue: &str| {
        let mut infra = held("EnsureInfra", "infraResult", queue, Some("RegisterTaskAndDeploy"));
        infra["Catch"] = json!([{"ErrorEquals": ["States.ALL"], "Next": "Broken"}]);
        json!({"StartAt": "EnsureInfra", "States": {
            "EnsureInfra": infra,
            "RegisterTaskAndDeploy": held("RegisterTaskAndDeploy", "deployResult", queue, None),
            "Broken": {"Type": "Fail", "Error": "DeployError", "Cause": "no capacity in the cluster"},
        }})
    };
    let fail = async |pipeline: &Pipeline, _: &str, id: &str| {
        let work = pipeline.work("EnsureInfra").await;
        polled(&cloud.env, id, "ENSURE_INFRA_IN_PROGRESS").await;
        pipeline.failed(work, "ClusterFull").await;
    };
    let failed = runs(&cloud, machine, fail, &["FAILED"]).await;
    assert_eq!(failed.error_code.as_deref(), Some(ErrorCode::ExecutionFailed.as_str()));
    let emitted = events(&cloud.env, &failed.id).await;
    // The caught state was exited as well, and yet nothing was completed.
    assert_eq!(codes(&emitted)[UNTIL_PUSHED.len()..], ["infra_started", "execution_failed"]);
    assert!(failed.error_message.unwrap().contains("DeployError: no capacity in the cluster"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn state_machine__aborted_execution_fails_deployment() {
    let cloud = Cloud::start(hello("3.4.0"), false).await;
    let abort = async |pipeline: &Pipeline, execution: &str, id: &str| {
        let work = pipeline.work("EnsureInfra").await;
        polled(&cloud.env, id, "ENSURE_INFRA_IN_PROGRESS").await;
        pipeline.abort(execution).await;
        // moto records the abort only after the running state has ended.
        pipeline.done(work, &json!({})).await;
    };
    let failed = runs(&cloud, held_machine, abort, &["FAILED"]).await;
    assert_eq!(failed.error_code.as_deref(), Some(ErrorCode::ExecutionAborted.as_str()));
    let emitted = events(&cloud.env, &failed.id).await;
    assert_eq!(codes(&emitted)[UNTIL_PUSHED.len()..], ["infra_started", "execution_aborted"]);
}
