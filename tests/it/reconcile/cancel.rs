//! Cancellation at every stage: running work is stopped, and the deployment ends once.

use panda::commands::CommandError;
use panda::commands::deploy::error::DeployError;
use panda::db::deployments::DeploymentView;
use panda::domain::Lang;
use panda_sandbox::{ExecutionFault, Faults, Outcome, ShiftFault};

use super::takeover::{building, slow_build};
use super::{Replica, codes, deploy, events, status};
use crate::support::commands::Commands;
use crate::support::environment::{Environment, hello};
use crate::support::wait_for;

/// Requests cancellation and waits for the end.
pub async fn cancel(env: &Environment, id: &str) -> DeploymentView {
    env.db.db.request_cancel(id).await.unwrap();
    env.db.db.notify_work(id).await.unwrap();
    let failed = status(env, id, &["FAILED"]).await;
    assert_eq!(failed.error_code.as_deref(), Some("CANCELLED"), "{:?}", failed.error_message);
    let emitted = events(env, id).await;
    let seqs: Vec<i64> = emitted.iter().map(|event| event.seq).collect();
    assert_eq!(seqs, (1..=i64::try_from(emitted.len()).unwrap()).collect::<Vec<_>>());
    assert_eq!(codes(&emitted)[codes(&emitted).len() - 2..], ["cancel_started", "cancelled"]);
    let again = env.db.db.request_cancel(id).await.unwrap_err();
    assert!(matches!(again, CommandError::Deploy(DeployError::AlreadyFinished { status: "FAILED", .. })), "{again:?}");
    failed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancel__stops_running_build() {
    let env = Environment::with_files(slow_build(600)).await;
    let replica = Replica::start(&env, &[]);
    let id = deploy(&env, "main").await;
    building(&env, &id).await;
    let asked = std::time::Instant::now();
    let failed = cancel(&env, &id).await;
    assert!(asked.elapsed() < std::time::Duration::from_secs(10), "{:?}", asked.elapsed());
    let message = failed.error_message.unwrap();
    assert!(message.ends_with("요청에 따라 취소됨(build_image 단계)"), "{message}");
    let english = events(&env, &id).await.last().unwrap().render(Lang::En).message;
    assert!(english.ends_with("cancelled on request during the step build_image"), "{english}");
    let effects = env.sandbox.effects(&env.ecr_repository());
    assert!(effects.pushes.is_empty() && effects.executions.is_empty(), "{effects:?}");
    wait_for("no workspace is left", async || !env.workspaces().join(&id).exists()).await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancel__stops_running_execution() {
    let env = Environment::with_files(hello("2.0.0")).await;
    let hangs = ExecutionFault { state: "EnsureInfra".into(), outcome: Outcome::Stuck };
    env.sandbox.faults().set(Faults { executions: [("*".to_owned(), hangs)].into(), ..Faults::default() });
    let replica = Replica::start(&env, &[]);
    let id = deploy(&env, "main").await;
    wait_for("the execution is followed", async || {
        env.db.db.deployment(&id).await.unwrap().unwrap().facts.polling_state.is_some()
    })
    .await;
    cancel(&env, &id).await;
    let effects = env.sandbox.effects(&env.ecr_repository());
    assert_eq!((effects.executions_stopped, effects.stopped.len()), (1, 0), "{effects:?}");
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancel__finds_and_stops_unseen_execution() {
    let env = Environment::with_files(hello("2.0.0")).await;
    let hangs = ExecutionFault { state: "EnsureInfra".into(), outcome: Outcome::Stuck };
    let executions = [("*".to_owned(), hangs)].into();
    env.sandbox.faults().set(Faults { executions, secret_delay_ms: 1_500, ..Faults::default() });
    let replica = Replica::start(&env, &[]);
    let id = deploy(&env, "main").await;
    wait_for("the image was pushed", async || {
        env.db.db.deployment(&id).await.unwrap().unwrap().facts.image_digest.is_some()
    })
    .await;
    cancel(&env, &id).await;
    assert_eq!(env.sandbox.effects(&env.ecr_repository()).executions_stopped, 1);
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancel__awaiting_switch_rolled_back() {
    let env = Environment::with_files(hello("2.0.0")).await;
    let replica = Replica::start(&env, &[]);
    let id = deploy(&env, "main").await;
    let ready = status(&env, &id, &["DEPLOYMENT_READY"]).await;
    cancel(&env, &id).await;
    let effects = env.sandbox.effects(&env.ecr_repository());
    assert_eq!(effects.stopped.values().copied().collect::<Vec<_>>(), [1], "{effects:?}");
    assert!(effects.continued.is_empty() && effects.shifted.is_empty());
    let blue = reqwest::get(ready.facts.blue_url.unwrap()).await.unwrap().text().await.unwrap();
    assert!(!blue.contains("2.0.0"), "the traffic stays where it was");
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancel__stops_switch_before_traffic_moved() {
    let env = Environment::with_files(hello("2.0.0")).await;
    let stuck = [("*".to_owned(), ShiftFault::Stuck)].into();
    env.sandbox.faults().set(Faults { shifts: stuck, ..Faults::default() });
    let replica = Replica::start(&env, &[]);
    let id = deploy(&env, "main").await;
    status(&env, &id, &["DEPLOYMENT_READY"]).await;
    env.db.db.request_switch(&id).await.unwrap();
    env.db.db.notify_work(&id).await.unwrap();
    wait_for("the switch is under way", async || {
        events(&env, &id).await.iter().any(|event| event.code == "switch_started")
    })
    .await;
    cancel(&env, &id).await;
    let effects = env.sandbox.effects(&env.ecr_repository());
    assert_eq!(effects.stopped.values().copied().collect::<Vec<_>>(), [1], "{effects:?}");
    assert!(effects.shifted.is_empty());
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancel__unstarted_has_no_external_effect() {
    let env = Environment::with_files(hello("2.0.0")).await;
    let id = deploy(&env, "main").await;
    env.db.db.request_cancel(&id).await.unwrap();
    let replica = Replica::start(&env, &[]);
    let failed = status(&env, &id, &["FAILED"]).await;
    assert_eq!(failed.error_code.as_deref(), Some("CANCELLED"));
    assert_eq!(codes(&events(&env, &id).await), ["cancel_started", "cancelled"]);
    assert!(env.sandbox.effects(&env.ecr_repository()).rules.is_empty());
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancel__unstoppable_work_reported_and_still_cancelled() {
    let env = Environment::with_files(hello("2.0.0")).await;
    let replica = Replica::start(&env, &["--step-limit-ms=20000"]);
    let id = deploy(&env, "main").await;
    status(&env, &id, &["DEPLOYMENT_READY"]).await;
    let denied = panda_sandbox::CallFault { deny: true, ..panda_sandbox::CallFault::default() };
    let calls = [("codedeploy:StopDeployment".to_owned(), denied)].into();
    env.sandbox.faults().set(Faults { calls, ..Faults::default() });
    let failed = cancel(&env, &id).await;
    assert!(failed.error_message.unwrap().contains("StopDeployment"));
    replica.stop().await;
}
