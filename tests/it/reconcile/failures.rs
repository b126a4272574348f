//! Each way to fail ends in one `fail` event, status FAILED, a stable code, and a message that says what to do.

use panda::db::deployments::DeploymentView;
use panda::domain::catalogue::EventType;
use panda::domain::{ErrorCode, Lang};
use panda::sandbox::git::SourceFile;
use panda::sandbox::{CallFault, ExecutionFault, Faults, Outcome, Refusal, SecretFault, ShiftFault};

use super::{Replica, deploy, deploy_with_token, events, status};
use crate::support::wait_for;
use crate::support::wishes::Wishes;
use crate::support::world::{OWNER, TOKEN, World, hello};

/// Runs one deployment of `branch` to its failure and checks what every failure has in common.
pub async fn fails(world: &World, flags: &[&str], branch: &str, code: ErrorCode) -> DeploymentView {
    let replica = Replica::start(world, flags);
    let id = deploy(world, branch).await;
    let failed = failed_as(world, &id, code).await;
    replica.stop().await;
    failed
}

async fn failed_as(world: &World, id: &str, code: ErrorCode) -> DeploymentView {
    let failed = status(world, id, &["FAILED"]).await;
    assert_eq!(failed.error_code.as_deref(), Some(code.as_str()), "{:?}", failed.error_message);
    assert!(failed.completed_at.is_some());
    let told = events(world, id).await;
    let last = told.last().unwrap();
    assert_eq!(last.code, code.event_code());
    let rendered = last.render(Lang::Ko);
    assert_eq!(rendered.event_type, EventType::Fail);
    assert_eq!(Some(rendered.message), failed.error_message);
    let ends = told.iter().filter(|event| event.render(Lang::Ko).event_type != EventType::Stage).count();
    assert_eq!(ends, 1, "one end: {told:?}");
    assert!(!format!("{told:?} {failed:?}").contains(TOKEN), "the token is told nowhere");
    // Removed right after the commit that we saw.
    wait_for("no workspace is left", async || !world.workspaces().join(id).exists()).await;
    failed
}

/// The English text of the failure.
pub async fn said(world: &World, id: &str) -> String {
    events(world, id).await.last().unwrap().render(Lang::En).message
}

fn call_fault(call: &str, fault: CallFault) -> Faults {
    Faults { calls: [(call.to_owned(), fault)].into(), ..Faults::default() }
}

fn refusal(call: &str, code: &str) -> Faults {
    let refuse = Some(Refusal { code: code.into(), message: "the sandbox refuses".into(), times: None });
    call_fault(call, CallFault { refuse, ..CallFault::default() })
}

#[tokio::test]
async fn a_rule_that_aws_denies_fails_with_the_catalogues_message() {
    let world = World::start().await;
    world.sandbox.faults().set(call_fault("events:PutRule", CallFault { deny: true, ..CallFault::default() }));
    let failed = fails(&world, &[], "main", ErrorCode::EventRuleFailed).await;
    assert!(failed.error_message.unwrap().starts_with("EventBridge 규칙 생성 실패: "));
}

#[tokio::test]
async fn a_target_that_is_refused_inside_a_200_is_a_failure() {
    let world = World::start().await;
    world.sandbox.faults().set(Faults { put_targets_failures: 100, ..Faults::default() });
    fails(&world, &["--step-limit-ms=2000"], "main", ErrorCode::EventRuleFailed).await;
}

#[tokio::test]
async fn a_target_that_aws_denies_for_ever_fails() {
    let world = World::start().await;
    world.sandbox.faults().set(call_fault("events:PutTargets", CallFault { deny: true, ..CallFault::default() }));
    fails(&world, &[], "main", ErrorCode::EventRuleFailed).await;
}

#[tokio::test]
async fn a_permission_that_aws_denies_fails_with_the_catalogues_message() {
    let world = World::start().await;
    world.sandbox.faults().set(call_fault("events:PutPermission", CallFault { deny: true, ..CallFault::default() }));
    let failed = fails(&world, &[], "main", ErrorCode::EventBusPermissionFailed).await;
    assert!(failed.error_message.unwrap().starts_with("Event Bus 권한 설정 실패: "));
}

#[tokio::test]
async fn a_branch_that_is_not_there_is_named() {
    let world = World::start().await;
    let failed = fails(&world, &[], "feature/gone", ErrorCode::BranchNotFound).await;
    assert!(said(&world, &failed.id).await.contains("feature/gone"));
}

#[tokio::test]
async fn a_token_that_was_revoked_is_a_denied_source() {
    let world = World::start().await;
    let replica = Replica::start(&world, &[]);
    let id = deploy_with_token(&world, "main", "ghp_revoked_987654321").await;
    failed_as(&world, &id, ErrorCode::SourceAccessDenied).await;
    assert!(!said(&world, &id).await.contains("ghp_revoked"));
    replica.stop().await;
}

#[tokio::test]
async fn a_repository_without_a_dockerfile_fails_clearly() {
    let world = World::with_files(vec![SourceFile::new("README.md", "no build here")]).await;
    fails(&world, &[], "main", ErrorCode::DockerfileNotFound).await;
}

#[tokio::test]
async fn a_failed_build_fails_with_the_engines_own_last_lines() {
    let dockerfile = "FROM busybox:1\nRUN echo compiling; echo 'missing semicolon' >&2; exit 3\n";
    let world = World::with_files(vec![SourceFile::new("Dockerfile", dockerfile)]).await;
    let failed = fails(&world, &[], "main", ErrorCode::BuildFailed).await;
    let said = said(&world, &failed.id).await;
    assert!(said.contains("missing semicolon") && said.contains('3'), "{said}");
}

#[tokio::test]
async fn an_engine_that_is_away_is_waited_for_and_said_then_failed_with_the_remedy() {
    let world = World::start().await;
    let flags = ["--docker-host=unix:///nowhere/docker.sock", "--build-limit-ms=4000"];
    let failed = fails(&world, &flags, "main", ErrorCode::DockerUnavailable).await;
    assert!(said(&world, &failed.id).await.contains("DOCKER_HOST"));
    let told = events(&world, &failed.id).await;
    let waits = told.iter().filter(|event| event.code == "step_waiting").count();
    assert_eq!(waits, 1, "said once, not with each try");
}

#[tokio::test]
async fn a_login_that_the_registry_refuses_fails_the_push() {
    let world = World::start().await;
    world.sandbox.set_registry(panda::sandbox::RegistryAddress {
        host_port: world.registry.host_port(),
        username: "AWS".into(),
        password: secrecy::SecretString::from("wrong"),
    });
    fails(&world, &[], "main", ErrorCode::RegistryAccessDenied).await;
}

#[tokio::test]
async fn an_ecr_that_denies_fails_before_anything_is_pushed() {
    let world = World::start().await;
    world.sandbox.faults().set(call_fault("ecr:CreateRepository", CallFault { deny: true, ..CallFault::default() }));
    fails(&world, &[], "main", ErrorCode::EcrAccessDenied).await;
    assert!(world.sandbox.effects(&world.ecr_repository()).pushes.is_empty());
}

#[tokio::test]
async fn an_execution_whose_arn_never_appears_is_not_waited_for_longer_than_its_limit() {
    let world = World::start().await;
    world.sandbox.faults().set(Faults { secret: SecretFault::NotWritten, ..Faults::default() });
    let failed = fails(&world, &["--execution-wait-ms=1500"], "main", ErrorCode::ExecutionNotFound).await;
    assert!(failed.image_digest.is_some(), "the image was pushed all the same");
}

/// One execution's fault at `EnsureInfra`, as a failure of the deployment with the execution's own words.
async fn execution_ends(outcome: Outcome, code: ErrorCode) -> String {
    let world = World::start().await;
    let fault = ExecutionFault { state: "EnsureInfra".into(), outcome };
    world.sandbox.faults().set(Faults { executions: [("*".to_owned(), fault)].into(), ..Faults::default() });
    let failed = fails(&world, &[], "main", code).await;
    assert_eq!(failed.polling_state.as_deref(), Some("FAILED"));
    let told = events(&world, &failed.id).await;
    assert!(told.iter().any(|event| event.code == "infra_started"));
    assert!(!told.iter().any(|event| event.code == "infra_completed"), "it was not completed");
    said(&world, &failed.id).await
}

#[tokio::test]
async fn a_failed_execution_fails_with_its_own_error_and_cause() {
    let outcome = Outcome::Fail { error: "CapacityError".into(), cause: "no hosts left".into() };
    let said = execution_ends(outcome, ErrorCode::ExecutionFailed).await;
    assert!(said.contains("CapacityError") && said.contains("no hosts left"), "{said}");
}

#[tokio::test]
async fn an_exit_after_a_catch_is_no_success() {
    let outcome = Outcome::Caught { error: "CapacityError".into(), cause: "no hosts left".into() };
    execution_ends(outcome, ErrorCode::ExecutionFailed).await;
}

#[tokio::test]
async fn an_execution_that_timed_out_fails_as_such() {
    execution_ends(Outcome::TimeOut, ErrorCode::ExecutionTimedOut).await;
}

#[tokio::test]
async fn an_execution_that_was_aborted_fails_as_such() {
    let outcome = Outcome::Abort { error: "Ops".into(), cause: "stopped by hand".into() };
    let said = execution_ends(outcome, ErrorCode::ExecutionAborted).await;
    assert!(said.contains("stopped by hand"), "{said}");
}

#[tokio::test]
async fn a_quiet_execution_is_not_a_success_but_fails_when_followed_too_long() {
    let world = World::start().await;
    let fault = ExecutionFault { state: "CheckDeployment".into(), outcome: Outcome::Stuck };
    world.sandbox.faults().set(Faults { executions: [("*".to_owned(), fault)].into(), ..Faults::default() });
    let failed = fails(&world, &["--follow-limit-ms=4000"], "main", ErrorCode::FollowTimedOut).await;
    assert_eq!(failed.polling_state.as_deref(), Some("REGISTER_TASK_COMPLETED"));
    world.sandbox.faults().clear();
}

#[tokio::test]
async fn a_green_that_answers_errors_is_refused_before_anybody_is_asked() {
    // It runs, so ECS is content; but it has nothing at `/health` nor at `/`.
    let dockerfile = "FROM busybox:1\nRUN mkdir /empty\nCMD httpd -f -p ${PORT:-8080} -h /empty\n";
    let world = World::with_files(vec![SourceFile::new("Dockerfile", dockerfile)]).await;
    let failed = fails(&world, &[], "main", ErrorCode::GreenUnhealthy).await;
    assert_eq!(failed.green_error_rate, Some(1.0));
    let told = events(&world, &failed.id).await;
    assert!(!told.iter().any(|event| event.code == "awaiting_switch"));
}

#[tokio::test]
async fn an_image_that_exits_fails_its_execution_as_in_ecs() {
    let world = World::with_files(vec![SourceFile::new("Dockerfile", "FROM busybox:1\nCMD echo bye; exit 1\n")]).await;
    fails(&world, &[], "main", ErrorCode::ExecutionFailed).await;
}

/// One deployment to DEPLOYMENT_READY, then `faults`, then the switch; it fails with `code` and blue keeps the traffic.
async fn switch_fails(faults: Faults, flags: &[&str], code: ErrorCode) -> String {
    let world = World::with_files(hello("2.0.0")).await;
    let replica = Replica::start(&world, flags);
    let id = deploy(&world, "main").await;
    let ready = status(&world, &id, &["DEPLOYMENT_READY"]).await;
    world.sandbox.faults().set(faults);
    world.db.db.request_switch(&id).await.unwrap();
    world.db.db.notify_work(&id).await.unwrap();
    let failed = status(&world, &id, &["FAILED"]).await;
    assert_eq!(failed.error_code.as_deref(), Some(code.as_str()), "{:?}", failed.error_message);
    let blue = reqwest::get(ready.blue_url.unwrap()).await.unwrap().text().await.unwrap();
    assert!(!blue.contains("2.0.0"), "blue keeps the traffic");
    replica.stop().await;
    said(&world, &id).await
}

#[tokio::test]
async fn a_switch_that_code_deploy_denies_fails() {
    let fault = CallFault { deny: true, ..CallFault::default() };
    switch_fails(call_fault("codedeploy:ContinueDeployment", fault), &[], ErrorCode::SwitchFailed).await;
}

#[tokio::test]
async fn a_switch_that_code_deploy_is_never_ready_for_fails_at_its_time_limit_with_its_words() {
    let faults = refusal("codedeploy:ContinueDeployment", "DeploymentIsNotInReadyStateException");
    let said = switch_fails(faults, &["--switch-limit-ms=1500"], ErrorCode::SwitchTimedOut).await;
    assert!(said.contains("the sandbox refuses"), "{said}");
}

#[tokio::test]
async fn a_shift_that_code_deploy_fails_fails_with_its_words() {
    let fault = ShiftFault::Fail { code: "HEALTH_CONSTRAINTS".into(), message: "targets are unhealthy".into() };
    let faults = Faults { shifts: [("*".to_owned(), fault)].into(), ..Faults::default() };
    let said = switch_fails(faults, &[], ErrorCode::SwitchFailed).await;
    assert!(said.contains("targets are unhealthy"), "{said}");
}

#[tokio::test]
async fn a_deployment_that_somebody_stops_in_code_deploy_fails() {
    let faults = Faults { shifts: [("*".to_owned(), ShiftFault::Stop)].into(), ..Faults::default() };
    switch_fails(faults, &[], ErrorCode::SwitchFailed).await;
}

#[tokio::test]
async fn a_whole_attempt_has_a_time_limit_whatever_its_steps_may_take() {
    let world = World::start().await;
    let stuck = ExecutionFault { state: "EnsureInfra".into(), outcome: Outcome::Stuck };
    world.sandbox.faults().set(Faults { executions: [("*".to_owned(), stuck)].into(), ..Faults::default() });
    // Long enough to come to the execution even on a busy machine, where it is stuck for good.
    let failed = fails(&world, &["--deployment-limit-ms=20000"], "main", ErrorCode::DeploymentTimedOut).await;
    let said = said(&world, &failed.id).await;
    assert!(said.contains("within 20 s") && said.contains("follow_execution"), "{said}");
}

#[tokio::test]
async fn throttling_and_server_errors_are_waited_out_and_never_fail_a_deployment() {
    let world = World::start().await;
    let flaky = CallFault { throttle: 4, fail: 3, ..CallFault::default() };
    let calls = ["events:PutRule", "events:PutPermission", "ecr:GetAuthorizationToken", "states:GetExecutionHistory"];
    let calls = calls.into_iter().map(|call| (call.to_owned(), flaky.clone())).collect();
    world.sandbox.faults().set(Faults { calls, history_page: Some(2), history_lag_ms: 200, ..Faults::default() });
    let replica = Replica::start(&world, &[]);
    let id = deploy(&world, "main").await;
    status(&world, &id, &["DEPLOYMENT_READY"]).await;
    replica.stop().await;
}

#[tokio::test]
async fn a_lost_answer_to_continue_deployment_is_not_asked_again() {
    let world = World::start().await;
    let replica = Replica::start(&world, &[]);
    let id = deploy(&world, "main").await;
    status(&world, &id, &["DEPLOYMENT_READY"]).await;
    let lost = CallFault { lose_reply: 1, ..CallFault::default() };
    world.sandbox.faults().set(call_fault("codedeploy:ContinueDeployment", lost));
    world.db.db.request_switch(&id).await.unwrap();
    status(&world, &id, &["COMPLETED"]).await;
    let continued = world.sandbox.effects(&world.ecr_repository()).continued;
    assert_eq!(continued.values().sum::<u32>(), 1, "{continued:?}");
    replica.stop().await;
}

/// Brings a deployment to its end, so that the target is free.
async fn switched(world: &World, id: &str) -> DeploymentView {
    status(world, id, &["DEPLOYMENT_READY"]).await;
    world.db.db.request_switch(id).await.unwrap();
    world.db.db.notify_work(id).await.unwrap();
    status(world, id, &["COMPLETED"]).await
}

#[tokio::test]
async fn the_arn_of_an_execution_before_ours_is_not_followed() {
    let world = World::start().await;
    let replica = Replica::start(&world, &["--execution-wait-ms=2500"]);
    let first = deploy(&world, "main").await;
    let first = switched(&world, &first).await;
    // The mailbox still holds the first deployment's ARN when the second one looks.
    world.sandbox.faults().set(Faults { secret: SecretFault::NotWritten, ..Faults::default() });
    world
        .github
        .repositories()
        .commit(OWNER, &world.repo, "main", vec![SourceFile::new("VERSION", "3\n")])
        .await
        .unwrap();
    let second = deploy(&world, "main").await;
    let second = failed_as(&world, &second, ErrorCode::ExecutionNotFound).await;
    assert_eq!(second.execution_arn, None);
    assert_ne!(first.image_digest, second.image_digest, "every deployment has its own digest");
    replica.stop().await;
}

#[tokio::test]
async fn the_same_commit_deployed_twice_gets_a_digest_and_an_execution_each() {
    let world = World::start().await;
    let replica = Replica::start(&world, &[]);
    let first = deploy(&world, "main").await;
    let first = switched(&world, &first).await;
    let second = deploy(&world, "main").await;
    let second = status(&world, &second, &["DEPLOYMENT_READY"]).await;
    assert_eq!(first.commit_sha, second.commit_sha);
    assert_ne!(first.image_digest, second.image_digest);
    assert_ne!(first.execution_arn, second.execution_arn);
    replica.stop().await;
    wait_for("two executions were started", async || {
        (world.sandbox.effects(&world.ecr_repository()).executions.len() == 2).then_some(())
    })
    .await;
}
