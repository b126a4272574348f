//! Another attempt resumes at the failed step and uses the external results of the last attempt.

use panda::commands::CommandError;
use panda::commands::deploy::error::DeployError;
use panda::db::deployments::DeploymentView;
use panda::domain::ErrorCode;
use panda_sandbox::git::SourceFile;
use panda_sandbox::{CallFault, ExecutionFault, Faults, Outcome, ShiftFault};
use pretty_assertions::assert_eq;

use super::takeover::{building, slow_build};
use super::{Replica, codes, deploy, events, status};
use crate::support::commands::Commands;
use crate::support::environment::InProcess as _;
use crate::support::environment::{Environment, OWNER, hello, tiny};
use crate::support::wait_for;

/// Waits until it has failed with `code`.
pub async fn failed(env: &Environment, id: &str, code: ErrorCode) -> DeploymentView {
    let failed = status(env, id, &["FAILED"]).await;
    assert_eq!(failed.error_code.as_deref(), Some(code.as_str()), "{:?}", failed.error_message);
    failed
}

pub async fn retry(env: &Environment, id: &str) {
    env.db.db.request_retry(id).await.unwrap();
    env.db.db.notify_work(id).await.unwrap();
}

/// Waits until it is ready, switches it, and waits until it is completed.
pub async fn completed(env: &Environment, id: &str) -> DeploymentView {
    status(env, id, &["DEPLOYMENT_READY"]).await;
    env.db.db.request_switch(id).await.unwrap();
    env.db.db.notify_work(id).await.unwrap();
    let completed = status(env, id, &["COMPLETED"]).await;
    let emitted = events(env, id).await;
    let seqs: Vec<i64> = emitted.iter().map(|event| event.seq).collect();
    assert_eq!(seqs, (1..=i64::try_from(emitted.len()).unwrap()).collect::<Vec<_>>(), "one sequence over all attempts");
    completed
}

pub async fn codes_of(env: &Environment, id: &str, attempt: i32) -> Vec<String> {
    let emitted = events(env, id).await;
    let of: Vec<_> = emitted.into_iter().filter(|event| event.attempt == attempt).collect();
    codes(&of).into_iter().map(str::to_owned).collect()
}

pub fn execution_fault(state: &str, outcome: Outcome) -> Faults {
    let fault = ExecutionFault { state: state.into(), outcome };
    Faults { executions: [("*".to_owned(), fault)].into(), ..Faults::default() }
}

pub fn fail() -> Outcome {
    Outcome::Fail { error: "Lambda.Unknown".into(), cause: "the task broke".into() }
}

fn denied(call: &str) -> Faults {
    let fault = CallFault { deny: true, ..CallFault::default() };
    Faults { calls: [(call.to_owned(), fault)].into(), ..Faults::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retry__failed_build_uses_fixing_commit() {
    let env = Environment::with_files(vec![SourceFile::new("Dockerfile", "FROM busybox:1\nRUN exit 3\n")]).await;
    let replica = Replica::start(&env, &[]);
    let id = deploy(&env, "main").await;
    let before = failed(&env, &id, ErrorCode::BuildFailed).await;
    env.github.repositories().commit(OWNER, &env.repo, "main", tiny()).await.unwrap();
    retry(&env, &id).await;
    let after = completed(&env, &id).await;
    assert_eq!((after.attempt, after.error_code, after.error_message), (2, None, None));
    assert_ne!(before.facts.commit_sha, after.facts.commit_sha);
    let past = env.db.db.past_attempts(&id).await.unwrap();
    assert_eq!(past.len(), 1);
    assert_eq!(
        (past[0].attempt, past[0].step.as_str(), past[0].error_code.as_str()),
        (1, "build_image", "BUILD_FAILED")
    );
    assert_eq!(past[0].facts.commit_sha, before.facts.commit_sha);
    let emitted = codes_of(&env, &id, 2).await;
    assert_eq!(emitted[..2], ["retry_started", "clone_started"]);
    let effects = env.sandbox.effects(&env.ecr_repository());
    assert_eq!(effects.pushes.values().copied().collect::<Vec<_>>(), [1]);
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retry__failed_execution_restarted_without_build() {
    let env = Environment::with_files(hello("2.0.0")).await;
    env.sandbox.faults().set(execution_fault("EnsureInfra", fail()));
    let replica = Replica::start(&env, &[]);
    let id = deploy(&env, "main").await;
    let before = failed(&env, &id, ErrorCode::ExecutionFailed).await;
    env.sandbox.faults().clear();
    retry(&env, &id).await;
    let after = completed(&env, &id).await;
    assert_eq!(before.facts.image_digest, after.facts.image_digest);
    assert_ne!(before.facts.execution_arn, after.facts.execution_arn);
    assert!(after.facts.image_uri.unwrap().ends_with(&format!("{id}-2")));
    let emitted = codes_of(&env, &id, 2).await;
    assert_eq!(emitted[..2], ["retry_started", "push_stage_started"]);
    assert!(!emitted.iter().any(|code| code.starts_with("build") || code == "push_started"), "{emitted:?}");
    let effects = env.sandbox.effects(&env.ecr_repository());
    assert_eq!(
        effects.executions.values().copied().collect::<Vec<_>>(),
        [2],
        "one digest, two executions: {effects:?}"
    );
    replica.stop().await;
}

/// The rule may be deleted between two attempts; so may the whole sandbox of `panda up`, whose deployments outlive it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retry__missing_rule_created_again() {
    for files in [hello("2.0.0"), vec![SourceFile::new("Dockerfile", "FROM busybox:1\nRUN exit 3\n")]] {
        let env = Environment::with_files(files).await;
        env.sandbox.faults().set(execution_fault("EnsureInfra", fail()));
        let replica = Replica::start(&env, &[]);
        let id = deploy(&env, "main").await;
        status(&env, &id, &["FAILED"]).await;
        env.sandbox.faults().clear();
        env.github.repositories().commit(OWNER, &env.repo, "main", hello("2.0.1")).await.unwrap();
        env.sandbox.forget_routes();
        retry(&env, &id).await;
        completed(&env, &id).await;
        let emitted = codes_of(&env, &id, 2).await;
        assert_eq!(emitted[..2], ["retry_started", "event_rule_created"], "{emitted:?}");
        replica.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retry__stops_leftover_code_deploy_first() {
    let env = Environment::with_files(hello("2.0.0")).await;
    env.sandbox.faults().set(execution_fault("CheckDeployment", fail()));
    let replica = Replica::start(&env, &[]);
    let id = deploy(&env, "main").await;
    let before = failed(&env, &id, ErrorCode::ExecutionFailed).await;
    env.sandbox.faults().clear();
    retry(&env, &id).await;
    let after = completed(&env, &id).await;
    let left = before.facts.code_deploy_deployment_id.unwrap();
    assert_ne!(Some(&left), after.facts.code_deploy_deployment_id.as_ref());
    let effects = env.sandbox.effects(&env.ecr_repository());
    assert_eq!(effects.stopped.get(&left), Some(&1), "{effects:?}");
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retry__running_execution_followed() {
    let env = Environment::with_files(hello("2.0.0")).await;
    env.sandbox.faults().set(execution_fault("EnsureInfra", Outcome::Stuck));
    let impatient = Replica::start(&env, &["--follow-limit-ms=1000"]);
    let id = deploy(&env, "main").await;
    let before = failed(&env, &id, ErrorCode::FollowTimedOut).await;
    impatient.stop().await;
    let replica = Replica::start(&env, &[]);
    retry(&env, &id).await;
    wait_for("the execution is followed", async || {
        env.db.db.deployment(&id).await.unwrap().unwrap().facts.execution_arn == before.facts.execution_arn
    })
    .await;
    env.sandbox.faults().clear();
    completed(&env, &id).await;
    assert_eq!(env.sandbox.effects(&env.ecr_repository()).executions.values().sum::<u32>(), 1);
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retry__unfound_execution_searched_again() {
    let env = Environment::with_files(hello("2.0.0")).await;
    env.sandbox.faults().set(Faults { secret_delay_ms: 2_000, ..Faults::default() });
    let replica = Replica::start(&env, &["--execution-wait-ms=500"]);
    let id = deploy(&env, "main").await;
    failed(&env, &id, ErrorCode::ExecutionNotFound).await;
    let services = env.services().await;
    let secret = services.names.secret(OWNER, &env.repo);
    wait_for("the mailbox has the ARN", async || {
        services.aws.controller().secrets.value(&secret).await.unwrap().is_some()
    })
    .await;
    retry(&env, &id).await;
    completed(&env, &id).await;
    assert_eq!(env.sandbox.effects(&env.ecr_repository()).executions.values().sum::<u32>(), 1);
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retry__unhealthy_green_checked_again() {
    // The service stays unhealthy until its `heal` page is requested.
    let heal = "#!/bin/sh\necho 'Content-Type: text/plain'\necho\necho fine >/www/index.html\necho healed\n";
    let dockerfile = "FROM busybox:1\nCOPY heal /www/cgi-bin/heal\nRUN chmod +x /www/cgi-bin/heal\nCMD exec httpd -f -p \"$PORT\" -h /www\n";
    let files = vec![SourceFile::new("Dockerfile", dockerfile), SourceFile::new("heal", heal)];
    let env = Environment::with_files(files).await;
    let replica = Replica::start(&env, &[]);
    let id = deploy(&env, "main").await;
    let before = failed(&env, &id, ErrorCode::GreenUnhealthy).await;
    let healed = reqwest::get(format!("{}/cgi-bin/heal", before.facts.green_url.unwrap())).await.unwrap();
    assert_eq!(healed.text().await.unwrap(), "healed\n");
    retry(&env, &id).await;
    completed(&env, &id).await;
    let effects = env.sandbox.effects(&env.ecr_repository());
    assert_eq!(effects.pushes.values().copied().collect::<Vec<_>>(), [1], "{effects:?}");
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retry__denied_switch_repeated() {
    let env = Environment::with_files(hello("2.0.0")).await;
    let replica = Replica::start(&env, &[]);
    let id = deploy(&env, "main").await;
    status(&env, &id, &["DEPLOYMENT_READY"]).await;
    env.sandbox.faults().set(denied("codedeploy:ContinueDeployment"));
    env.db.db.request_switch(&id).await.unwrap();
    env.db.db.notify_work(&id).await.unwrap();
    failed(&env, &id, ErrorCode::SwitchFailed).await;
    env.sandbox.faults().clear();
    retry(&env, &id).await;
    status(&env, &id, &["COMPLETED"]).await;
    let effects = env.sandbox.effects(&env.ecr_repository());
    assert_eq!(effects.continued.values().copied().collect::<Vec<_>>(), [1]);
    assert_eq!(effects.executions.values().sum::<u32>(), 1);
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retry__failed_shift_restarts_from_image() {
    let env = Environment::with_files(hello("2.0.0")).await;
    let replica = Replica::start(&env, &[]);
    let id = deploy(&env, "main").await;
    status(&env, &id, &["DEPLOYMENT_READY"]).await;
    env.sandbox.faults().set(Faults { shifts: [("*".to_owned(), ShiftFault::Stop)].into(), ..Faults::default() });
    env.db.db.request_switch(&id).await.unwrap();
    env.db.db.notify_work(&id).await.unwrap();
    failed(&env, &id, ErrorCode::SwitchFailed).await;
    env.sandbox.faults().clear();
    retry(&env, &id).await;
    let ready = status(&env, &id, &["DEPLOYMENT_READY"]).await;
    assert!(ready.switch_requested_at.is_none(), "the approval was for the previous attempt");
    completed(&env, &id).await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retry__cancelled_build_fetched_and_built_again() {
    let env = Environment::with_files(slow_build(30)).await;
    let replica = Replica::start(&env, &[]);
    let id = deploy(&env, "main").await;
    building(&env, &id).await;
    env.db.db.request_cancel(&id).await.unwrap();
    env.db.db.notify_work(&id).await.unwrap();
    failed(&env, &id, ErrorCode::Cancelled).await;
    env.github.repositories().commit(OWNER, &env.repo, "main", tiny()).await.unwrap();
    retry(&env, &id).await;
    completed(&env, &id).await;
    let past = env.db.db.past_attempts(&id).await.unwrap();
    assert_eq!((past[0].step.as_str(), past[0].error_code.as_str()), ("cancel", "CANCELLED"));
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retry__cancelled_ready_deployment_ready_again() {
    let env = Environment::with_files(hello("2.0.0")).await;
    let replica = Replica::start(&env, &[]);
    let id = deploy(&env, "main").await;
    let before = status(&env, &id, &["DEPLOYMENT_READY"]).await;
    env.db.db.request_cancel(&id).await.unwrap();
    env.db.db.notify_work(&id).await.unwrap();
    failed(&env, &id, ErrorCode::Cancelled).await;
    retry(&env, &id).await;
    let after = completed(&env, &id).await;
    assert_eq!(before.facts.image_digest, after.facts.image_digest);
    assert!(!codes_of(&env, &id, 2).await.contains(&"build_started".to_owned()));
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retry__second_retry_reuses_first_attempt() {
    let env = Environment::with_files(hello("2.0.0")).await;
    env.sandbox.faults().set(execution_fault("EnsureInfra", fail()));
    let replica = Replica::start(&env, &[]);
    let id = deploy(&env, "main").await;
    failed(&env, &id, ErrorCode::ExecutionFailed).await;
    // The second attempt cannot even determine where to resume.
    env.sandbox.faults().set(denied("states:DescribeExecution"));
    retry(&env, &id).await;
    failed(&env, &id, ErrorCode::ExecutionUnreadable).await;
    env.sandbox.faults().clear();
    retry(&env, &id).await;
    let after = completed(&env, &id).await;
    assert_eq!(after.attempt, 3);
    let past = env.db.db.past_attempts(&id).await.unwrap();
    assert_eq!(past.iter().map(|past| past.step.as_str()).collect::<Vec<_>>(), ["follow_execution", "resume"]);
    replica.stop().await;
}

#[tokio::test]
async fn retry__only_failed_deployments() {
    let env = Environment::with_files(tiny()).await;
    let id = deploy(&env, "main").await;
    let running = env.db.db.request_retry(&id).await.unwrap_err();
    assert!(matches!(running, CommandError::Deploy(DeployError::NotFailed { status: "RUNNING", .. })), "{running:?}");
    let unknown = env.db.db.request_retry("dep_unknown").await.unwrap_err();
    assert!(matches!(unknown, CommandError::Deploy(DeployError::NotFound(_))), "{unknown:?}");
}

/// Earlier versions stored the id of an ECS deployment, which CodeDeploy refuses.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retry__stored_id_of_another_kind_starts_pipeline_again() {
    let env = Environment::with_files(tiny()).await;
    env.sandbox.faults().set(execution_fault("EnsureInfra", fail()));
    let replica = Replica::start(&env, &[]);
    let id = deploy(&env, "main").await;
    failed(&env, &id, ErrorCode::ExecutionFailed).await;
    let sql = r#"UPDATE deployments SET facts = facts || '{"code_deploy_deployment_id": "ecs-svc/1234567890"}' WHERE id = $1"#;
    sqlx::query(sql).bind(&id).execute(&mut env.db.psql().await).await.unwrap();
    env.sandbox.faults().clear();
    retry(&env, &id).await;
    let after = completed(&env, &id).await;
    assert!(after.facts.code_deploy_deployment_id.is_some_and(|id| id.starts_with("d-")));
    let effects = env.sandbox.effects(&env.ecr_repository());
    assert_eq!(effects.executions.values().copied().collect::<Vec<_>>(), [2], "{effects:?}");
    replica.stop().await;
}
