//! A person's no, at every stage: what runs is stopped, and the deployment ends once.

use panda::db::deployments::DeploymentView;
use panda::db::wishes::Wished;
use panda::sandbox::{ExecutionFault, Faults, Outcome, ShiftFault};

use super::takeover::{building, slow_build};
use super::{Replica, codes, deploy, events, status};
use crate::support::wait_for;
use crate::support::wishes::Wishes;
use crate::support::world::{World, hello};

/// Wishes for the end and waits for it.
async fn cancel(world: &World, id: &str) -> DeploymentView {
    assert_eq!(world.db.db.request_cancel(id).await.unwrap(), Wished::Accepted);
    world.db.db.notify_work(id).await.unwrap();
    let failed = status(world, id, &["FAILED"]).await;
    assert_eq!(failed.error_code.as_deref(), Some("CANCELLED"), "{:?}", failed.error_message);
    let told = events(world, id).await;
    let seqs: Vec<i64> = told.iter().map(|event| event.seq).collect();
    assert_eq!(seqs, (1..=i64::try_from(told.len()).unwrap()).collect::<Vec<_>>());
    assert_eq!(codes(&told)[codes(&told).len() - 2..], ["cancel_started", "cancelled"]);
    let again = world.db.db.request_cancel(id).await.unwrap();
    assert_eq!(again, Wished::NotNow(panda::domain::Status::Failed));
    failed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_build_is_stopped_at_once() {
    let world = World::with_files(slow_build(600)).await;
    let replica = Replica::start(&world, &[]);
    let id = deploy(&world, "main").await;
    building(&world, &id).await;
    let asked = std::time::Instant::now();
    let failed = cancel(&world, &id).await;
    assert!(asked.elapsed() < std::time::Duration::from_secs(10), "{:?}", asked.elapsed());
    assert!(failed.error_message.unwrap().contains("build_image"));
    let effects = world.sandbox.effects(&world.ecr_repository());
    assert!(effects.pushes.is_empty() && effects.executions.is_empty(), "{effects:?}");
    wait_for("no workspace is left", async || !world.workspaces().join(&id).exists()).await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_execution_is_stopped() {
    let world = World::with_files(hello("2.0.0")).await;
    let hangs = ExecutionFault { state: "EnsureInfra".into(), outcome: Outcome::Stuck };
    world.sandbox.faults().set(Faults { executions: [("*".to_owned(), hangs)].into(), ..Faults::default() });
    let replica = Replica::start(&world, &[]);
    let id = deploy(&world, "main").await;
    wait_for("the execution is followed", async || {
        world.db.db.deployment(&id).await.unwrap().unwrap().polling_state.is_some()
    })
    .await;
    cancel(&world, &id).await;
    let effects = world.sandbox.effects(&world.ecr_repository());
    assert_eq!((effects.executions_stopped, effects.stopped.len()), (1, 0), "{effects:?}");
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_execution_that_nobody_has_seen_yet_is_found_and_stopped() {
    let world = World::with_files(hello("2.0.0")).await;
    let hangs = ExecutionFault { state: "EnsureInfra".into(), outcome: Outcome::Stuck };
    let executions = [("*".to_owned(), hangs)].into();
    world.sandbox.faults().set(Faults { executions, secret_delay_ms: 1_500, ..Faults::default() });
    let replica = Replica::start(&world, &[]);
    let id = deploy(&world, "main").await;
    wait_for("the image was pushed", async || {
        world.db.db.deployment(&id).await.unwrap().unwrap().image_digest.is_some()
    })
    .await;
    cancel(&world, &id).await;
    assert_eq!(world.sandbox.effects(&world.ecr_repository()).executions_stopped, 1);
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_that_waits_for_its_switch_is_stopped_and_rolled_back() {
    let world = World::with_files(hello("2.0.0")).await;
    let replica = Replica::start(&world, &[]);
    let id = deploy(&world, "main").await;
    let ready = status(&world, &id, &["DEPLOYMENT_READY"]).await;
    cancel(&world, &id).await;
    let effects = world.sandbox.effects(&world.ecr_repository());
    assert_eq!(effects.stopped.values().copied().collect::<Vec<_>>(), [1], "{effects:?}");
    assert!(effects.continued.is_empty() && effects.shifted.is_empty());
    let blue = reqwest::get(ready.blue_url.unwrap()).await.unwrap().text().await.unwrap();
    assert!(!blue.contains("2.0.0"), "the traffic stays where it was");
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switch_whose_traffic_has_not_moved_is_stopped() {
    let world = World::with_files(hello("2.0.0")).await;
    let stuck = [("*".to_owned(), ShiftFault::Stuck)].into();
    world.sandbox.faults().set(Faults { shifts: stuck, ..Faults::default() });
    let replica = Replica::start(&world, &[]);
    let id = deploy(&world, "main").await;
    status(&world, &id, &["DEPLOYMENT_READY"]).await;
    world.db.db.request_switch(&id).await.unwrap();
    world.db.db.notify_work(&id).await.unwrap();
    wait_for("the switch is under way", async || {
        events(&world, &id).await.iter().any(|event| event.code == "switch_started")
    })
    .await;
    cancel(&world, &id).await;
    let effects = world.sandbox.effects(&world.ecr_repository());
    assert_eq!(effects.stopped.values().copied().collect::<Vec<_>>(), [1], "{effects:?}");
    assert!(effects.shifted.is_empty());
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_that_nobody_has_begun_is_cancelled_without_a_trace_outside() {
    let world = World::with_files(hello("2.0.0")).await;
    let id = deploy(&world, "main").await;
    assert_eq!(world.db.db.request_cancel(&id).await.unwrap(), Wished::Accepted);
    let replica = Replica::start(&world, &[]);
    let failed = status(&world, &id, &["FAILED"]).await;
    assert_eq!(failed.error_code.as_deref(), Some("CANCELLED"));
    assert_eq!(codes(&events(&world, &id).await), ["cancel_started", "cancelled"]);
    assert!(world.sandbox.effects(&world.ecr_repository()).rules.is_empty());
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_stopped_is_said_and_the_deployment_is_cancelled_all_the_same() {
    let world = World::with_files(hello("2.0.0")).await;
    let replica = Replica::start(&world, &["--step-limit-ms=20000"]);
    let id = deploy(&world, "main").await;
    status(&world, &id, &["DEPLOYMENT_READY"]).await;
    let denied = panda::sandbox::CallFault { deny: true, ..panda::sandbox::CallFault::default() };
    let calls = [("codedeploy:StopDeployment".to_owned(), denied)].into();
    world.sandbox.faults().set(Faults { calls, ..Faults::default() });
    let failed = cancel(&world, &id).await;
    assert!(failed.error_message.unwrap().contains("StopDeployment"));
    replica.stop().await;
}
