//! Each failure ends in one `fail` event, status FAILED, a stable code, and a message with the remedy.

use panda::db::deployments::DeploymentView;
use panda::domain::catalogue::EventType;
use panda::domain::{ErrorCode, Lang};
use panda_sandbox::git::SourceFile;
use panda_sandbox::{
    CallFault, ExecutionFault, Faults, InjectedError, Lag, Outcome, PartialFailure, SecretFault, ShiftFault, Visibility,
};

use super::{Replica, deploy, deploy_with_token, events, status};
use crate::support::commands::Commands;
use crate::support::environment::{Environment, OWNER, TOKEN, hello};
use crate::support::wait_for;

/// Runs one deployment of `branch` to its failure and checks the properties that all failures share.
pub async fn fails(env: &Environment, flags: &[&str], branch: &str, code: ErrorCode) -> DeploymentView {
    let replica = Replica::start(env, flags);
    let id = deploy(env, branch).await;
    let failed = failed_as(env, &id, code).await;
    replica.stop().await;
    failed
}

pub async fn failed_as(env: &Environment, id: &str, code: ErrorCode) -> DeploymentView {
    let failed = status(env, id, &["FAILED"]).await;
    assert_eq!(failed.error_code.as_deref(), Some(code.as_str()), "{:?}", failed.error_message);
    assert!(failed.completed_at.is_some());
    let emitted = events(env, id).await;
    let last = emitted.last().unwrap();
    assert_eq!(last.code, code.event_code());
    let rendered = last.render(Lang::Ko);
    assert_eq!(rendered.event_type, EventType::Fail);
    assert_eq!(Some(rendered.message), failed.error_message);
    let ends = emitted.iter().filter(|event| event.render(Lang::Ko).event_type != EventType::Stage).count();
    assert_eq!(ends, 1, "one end: {emitted:?}");
    assert!(!format!("{emitted:?} {failed:?}").contains(TOKEN), "the token appears nowhere");
    // The workspace is removed right after the commit that was observed.
    wait_for("no workspace is left", async || !env.workspaces().join(id).exists()).await;
    failed
}

/// The English text of the failure.
pub async fn said(env: &Environment, id: &str) -> String {
    events(env, id).await.last().unwrap().render(Lang::En).message
}

fn call_fault(call: &str, fault: CallFault) -> Faults {
    Faults { calls: [(call.to_owned(), fault)].into(), ..Faults::default() }
}

fn refusal(call: &str, code: &str) -> Faults {
    let refuse = Some(InjectedError { code: code.into(), message: "the sandbox refuses".into(), times: None });
    call_fault(call, CallFault { refuse, ..CallFault::default() })
}

#[tokio::test]
async fn event_rule__denied_fails_with_catalogue_message() {
    let env = Environment::start().await;
    env.sandbox.faults().set(call_fault("events:PutRule", CallFault { deny: true, ..CallFault::default() }));
    let failed = fails(&env, &[], "main", ErrorCode::EventRuleFailed).await;
    assert!(failed.error_message.unwrap().starts_with("EventBridge 규칙 생성 실패: "));
}

#[tokio::test]
async fn event_rule__target_refused_inside_200_fails() {
    let env = Environment::start().await;
    let failure = PartialFailure { code: "InternalFailure".into(), message: "not stored".into(), times: None };
    let partial = [("events:PutTargets".to_owned(), failure)].into();
    env.sandbox.faults().set(Faults { partial, ..Faults::default() });
    fails(&env, &["--step-limit-ms=2000"], "main", ErrorCode::EventRuleFailed).await;
}

#[tokio::test]
async fn event_rule__target_denied_permanently_fails() {
    let env = Environment::start().await;
    env.sandbox.faults().set(call_fault("events:PutTargets", CallFault { deny: true, ..CallFault::default() }));
    fails(&env, &[], "main", ErrorCode::EventRuleFailed).await;
}

#[tokio::test]
async fn bus_permission__denied_fails_with_catalogue_message() {
    let env = Environment::start().await;
    env.sandbox.faults().set(call_fault("events:PutPermission", CallFault { deny: true, ..CallFault::default() }));
    let failed = fails(&env, &[], "main", ErrorCode::EventBusPermissionFailed).await;
    assert!(failed.error_message.unwrap().starts_with("Event Bus 권한 설정 실패: "));
}

#[tokio::test]
async fn fetch__missing_branch_named() {
    let env = Environment::start().await;
    let failed = fails(&env, &[], "feature/gone", ErrorCode::BranchNotFound).await;
    assert!(said(&env, &failed.id).await.contains("feature/gone"));
}

#[tokio::test]
async fn fetch__revoked_token_denied() {
    let env = Environment::start().await;
    let replica = Replica::start(&env, &[]);
    let id = deploy_with_token(&env, "main", "ghp_revoked_987654321").await;
    failed_as(&env, &id, ErrorCode::SourceAccessDenied).await;
    assert!(!said(&env, &id).await.contains("ghp_revoked"));
    replica.stop().await;
}

#[tokio::test]
async fn build__missing_dockerfile_named() {
    let env = Environment::with_files(vec![SourceFile::new("README.md", "no build here")]).await;
    fails(&env, &[], "main", ErrorCode::DockerfileNotFound).await;
}

#[tokio::test]
async fn build__failure_has_last_output_lines() {
    let dockerfile = "FROM busybox:1\nRUN echo compiling; echo 'missing semicolon' >&2; exit 3\n";
    let env = Environment::with_files(vec![SourceFile::new("Dockerfile", dockerfile)]).await;
    let failed = fails(&env, &[], "main", ErrorCode::BuildFailed).await;
    let said = said(&env, &failed.id).await;
    assert!(said.contains("missing semicolon") && said.contains('3'), "{said}");
}

#[tokio::test]
async fn build__unreachable_engine_retried_then_fails_with_remedy() {
    let env = Environment::start().await;
    let flags = ["--docker-host=unix:///nowhere/docker.sock", "--build-limit-ms=4000"];
    let failed = fails(&env, &flags, "main", ErrorCode::DockerUnavailable).await;
    assert!(said(&env, &failed.id).await.contains("DOCKER_HOST"));
    let emitted = events(&env, &failed.id).await;
    let waits = emitted.iter().filter(|event| event.code == "step_waiting").count();
    assert_eq!(waits, 1, "reported once, not with each try");
}

#[tokio::test]
async fn push__refused_login_fails() {
    let env = Environment::start().await;
    env.sandbox.set_registry(panda_sandbox::RegistryAddress {
        host_port: env.registry.host_port(),
        username: "AWS".into(),
        password: secrecy::SecretString::from("wrong"),
    });
    fails(&env, &[], "main", ErrorCode::RegistryAccessDenied).await;
}

#[tokio::test]
async fn push__denied_ecr_fails_before_push() {
    let env = Environment::start().await;
    env.sandbox.faults().set(call_fault("ecr:CreateRepository", CallFault { deny: true, ..CallFault::default() }));
    fails(&env, &[], "main", ErrorCode::EcrAccessDenied).await;
    assert!(env.sandbox.effects(&env.ecr_repository()).pushes.is_empty());
}

#[tokio::test]
async fn find_execution__missing_arn_times_out() {
    let env = Environment::start().await;
    env.sandbox.faults().set(Faults { secret: SecretFault::NotWritten, ..Faults::default() });
    let failed = fails(&env, &["--execution-wait-ms=1500"], "main", ErrorCode::ExecutionNotFound).await;
    assert!(failed.facts.image_digest.is_some(), "the image was pushed all the same");
}

/// One execution's fault at `EnsureInfra`, as a failure of the deployment with the execution's own message.
async fn execution_ends(outcome: Outcome, code: ErrorCode) -> String {
    let env = Environment::start().await;
    let fault = ExecutionFault { state: "EnsureInfra".into(), outcome };
    env.sandbox.faults().set(Faults { executions: [("*".to_owned(), fault)].into(), ..Faults::default() });
    let failed = fails(&env, &[], "main", code).await;
    assert_eq!(failed.facts.polling_state.as_deref(), Some("FAILED"));
    let emitted = events(&env, &failed.id).await;
    assert!(emitted.iter().any(|event| event.code == "infra_started"));
    assert!(!emitted.iter().any(|event| event.code == "infra_completed"), "it was not completed");
    said(&env, &failed.id).await
}

#[tokio::test]
async fn execution__failure_has_error_and_cause() {
    let outcome = Outcome::Fail { error: "CapacityError".into(), cause: "no hosts left".into() };
    let said = execution_ends(outcome, ErrorCode::ExecutionFailed).await;
    assert!(said.contains("CapacityError") && said.contains("no hosts left"), "{said}");
}

#[tokio::test]
async fn execution__exit_after_catch_is_failure() {
    let outcome = Outcome::Caught { error: "CapacityError".into(), cause: "no hosts left".into() };
    execution_ends(outcome, ErrorCode::ExecutionFailed).await;
}

#[tokio::test]
async fn execution__timeout_reported() {
    execution_ends(Outcome::TimeOut, ErrorCode::ExecutionTimedOut).await;
}

#[tokio::test]
async fn execution__abort_reported() {
    let outcome = Outcome::Abort { error: "Ops".into(), cause: "stopped by hand".into() };
    let said = execution_ends(outcome, ErrorCode::ExecutionAborted).await;
    assert!(said.contains("stopped by hand"), "{said}");
}

#[tokio::test]
async fn execution__silent_fails_at_time_limit() {
    let env = Environment::start().await;
    let fault = ExecutionFault { state: "CheckDeployment".into(), outcome: Outcome::Stuck };
    env.sandbox.faults().set(Faults { executions: [("*".to_owned(), fault)].into(), ..Faults::default() });
    let failed = fails(&env, &["--follow-limit-ms=4000"], "main", ErrorCode::FollowTimedOut).await;
    assert_eq!(failed.facts.polling_state.as_deref(), Some("REGISTER_TASK_COMPLETED"));
    env.sandbox.faults().clear();
}

#[tokio::test]
async fn verify_green__errors_fail_before_approval() {
    // The container runs, so ECS is content; but it serves neither `/health` nor `/`.
    let dockerfile = "FROM busybox:1\nRUN mkdir /empty\nCMD httpd -f -p ${PORT:-8080} -h /empty\n";
    let env = Environment::with_files(vec![SourceFile::new("Dockerfile", dockerfile)]).await;
    let failed = fails(&env, &[], "main", ErrorCode::GreenUnhealthy).await;
    assert_eq!(failed.facts.green_error_rate, Some(1.0));
    let emitted = events(&env, &failed.id).await;
    assert!(!emitted.iter().any(|event| event.code == "awaiting_switch"));
}

#[tokio::test]
async fn execution__exiting_image_fails_like_ecs() {
    let env =
        Environment::with_files(vec![SourceFile::new("Dockerfile", "FROM busybox:1\nCMD echo bye; exit 1\n")]).await;
    fails(&env, &[], "main", ErrorCode::ExecutionFailed).await;
}

/// Runs one deployment to DEPLOYMENT_READY, sets `faults` and switches; it fails with `code` and blue keeps the traffic.
async fn switch_fails(faults: Faults, flags: &[&str], code: ErrorCode) -> String {
    let env = Environment::with_files(hello("2.0.0")).await;
    let replica = Replica::start(&env, flags);
    let id = deploy(&env, "main").await;
    let ready = status(&env, &id, &["DEPLOYMENT_READY"]).await;
    env.sandbox.faults().set(faults);
    env.db.db.request_switch(&id).await.unwrap();
    env.db.db.notify_work(&id).await.unwrap();
    let failed = status(&env, &id, &["FAILED"]).await;
    assert_eq!(failed.error_code.as_deref(), Some(code.as_str()), "{:?}", failed.error_message);
    let blue = reqwest::get(ready.facts.blue_url.unwrap()).await.unwrap().text().await.unwrap();
    assert!(!blue.contains("2.0.0"), "blue keeps the traffic");
    replica.stop().await;
    said(&env, &id).await
}

#[tokio::test]
async fn switch_traffic__denied_fails() {
    let fault = CallFault { deny: true, ..CallFault::default() };
    switch_fails(call_fault("codedeploy:ContinueDeployment", fault), &[], ErrorCode::SwitchFailed).await;
}

#[tokio::test]
async fn switch_traffic__never_ready_fails_at_time_limit() {
    let faults = refusal("codedeploy:ContinueDeployment", "DeploymentIsNotInReadyStateException");
    let said = switch_fails(faults, &["--switch-limit-ms=1500"], ErrorCode::SwitchTimedOut).await;
    assert!(said.contains("the sandbox refuses"), "{said}");
}

#[tokio::test]
async fn switch_traffic__failed_shift_has_code_deploy_message() {
    let fault = ShiftFault::Fail { code: "HEALTH_CONSTRAINTS".into(), message: "targets are unhealthy".into() };
    let faults = Faults { shifts: [("*".to_owned(), fault)].into(), ..Faults::default() };
    let said = switch_fails(faults, &[], ErrorCode::SwitchFailed).await;
    assert!(said.contains("targets are unhealthy"), "{said}");
}

#[tokio::test]
async fn switch_traffic__stopped_in_code_deploy_fails() {
    let faults = Faults { shifts: [("*".to_owned(), ShiftFault::Stop)].into(), ..Faults::default() };
    switch_fails(faults, &[], ErrorCode::SwitchFailed).await;
}

#[tokio::test]
async fn attempt__has_total_time_limit() {
    let env = Environment::start().await;
    let stuck = ExecutionFault { state: "EnsureInfra".into(), outcome: Outcome::Stuck };
    env.sandbox.faults().set(Faults { executions: [("*".to_owned(), stuck)].into(), ..Faults::default() });
    // Long enough to reach the execution even on a busy machine; there it is stuck permanently.
    let failed = fails(&env, &["--deployment-limit-ms=20000"], "main", ErrorCode::DeploymentTimedOut).await;
    let said = said(&env, &failed.id).await;
    assert!(said.contains("within 20 s") && said.contains("follow_execution"), "{said}");
}

#[tokio::test]
async fn aws_errors__throttling_and_5xx_never_fail_deployment() {
    let env = Environment::start().await;
    let flaky = CallFault { throttle: 4, fail: 3, ..CallFault::default() };
    let calls = ["events:PutRule", "events:PutPermission", "ecr:GetAuthorizationToken", "states:GetExecutionHistory"];
    let calls = calls.into_iter().map(|call| (call.to_owned(), flaky.clone())).collect();
    let visibility = Visibility { history: Lag { delay_ms: 200, jitter_ms: 0 }, ..Visibility::default() };
    env.sandbox.faults().set(Faults { calls, history_page: Some(2), visibility, ..Faults::default() });
    let replica = Replica::start(&env, &[]);
    let id = deploy(&env, "main").await;
    status(&env, &id, &["DEPLOYMENT_READY"]).await;
    replica.stop().await;
}

#[tokio::test]
async fn switch_traffic__lost_answer_not_repeated() {
    let env = Environment::start().await;
    let replica = Replica::start(&env, &[]);
    let id = deploy(&env, "main").await;
    status(&env, &id, &["DEPLOYMENT_READY"]).await;
    let lost = CallFault { lose_reply: 1, ..CallFault::default() };
    env.sandbox.faults().set(call_fault("codedeploy:ContinueDeployment", lost));
    env.db.db.request_switch(&id).await.unwrap();
    status(&env, &id, &["COMPLETED"]).await;
    let continued = env.sandbox.effects(&env.ecr_repository()).continued;
    assert_eq!(continued.values().sum::<u32>(), 1, "{continued:?}");
    replica.stop().await;
}

/// Completes a deployment, so that the target is free.
async fn switched(env: &Environment, id: &str) -> DeploymentView {
    status(env, id, &["DEPLOYMENT_READY"]).await;
    env.db.db.request_switch(id).await.unwrap();
    env.db.db.notify_work(id).await.unwrap();
    status(env, id, &["COMPLETED"]).await
}

#[tokio::test]
async fn find_execution__previous_execution_not_followed() {
    let env = Environment::start().await;
    let replica = Replica::start(&env, &["--execution-wait-ms=2500"]);
    let first = deploy(&env, "main").await;
    let first = switched(&env, &first).await;
    // The mailbox still holds the first deployment's ARN when the second one reads it.
    env.sandbox.faults().set(Faults { secret: SecretFault::NotWritten, ..Faults::default() });
    env.github.repositories().commit(OWNER, &env.repo, "main", vec![SourceFile::new("VERSION", "3\n")]).await.unwrap();
    let second = deploy(&env, "main").await;
    let second = failed_as(&env, &second, ErrorCode::ExecutionNotFound).await;
    assert_eq!(second.facts.execution_arn, None);
    assert_ne!(first.facts.image_digest, second.facts.image_digest, "every deployment has its own digest");
    replica.stop().await;
}

#[tokio::test]
async fn deploy__same_commit_twice_has_own_digest_and_execution() {
    let env = Environment::start().await;
    let replica = Replica::start(&env, &[]);
    let first = deploy(&env, "main").await;
    let first = switched(&env, &first).await;
    let second = deploy(&env, "main").await;
    let second = status(&env, &second, &["DEPLOYMENT_READY"]).await;
    assert_eq!(first.facts.commit_sha, second.facts.commit_sha);
    assert_ne!(first.facts.image_digest, second.facts.image_digest);
    assert_ne!(first.facts.execution_arn, second.facts.execution_arn);
    replica.stop().await;
    wait_for("two executions were started", async || {
        (env.sandbox.effects(&env.ecr_repository()).executions.len() == 2).then_some(())
    })
    .await;
}
