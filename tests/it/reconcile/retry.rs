//! Another attempt goes on where the last one failed, with what it has left outside.

use panda::db::deployments::DeploymentView;
use panda::db::wishes::Wished;
use panda::domain::{ErrorCode, Status};
use panda::metrics::Metrics;
use panda::sandbox::git::SourceFile;
use panda::sandbox::{CallFault, ExecutionFault, Faults, Outcome, ShiftFault};
use pretty_assertions::assert_eq;

use super::takeover::{building, slow_build};
use super::{Replica, codes, deploy, events, status};
use crate::support::wait_for;
use crate::support::wishes::Wishes;
use crate::support::world::{OWNER, World, hello, tiny};

/// Waits until it has failed with `code`.
async fn failed(world: &World, id: &str, code: ErrorCode) -> DeploymentView {
    let failed = status(world, id, &["FAILED"]).await;
    assert_eq!(failed.error_code.as_deref(), Some(code.as_str()), "{:?}", failed.error_message);
    failed
}

/// Wishes for another attempt.
async fn retry(world: &World, id: &str) {
    assert_eq!(world.db.db.request_retry(id).await.unwrap(), Wished::Accepted);
    world.db.db.notify_work(id).await.unwrap();
}

/// Waits until it is ready, switches it, and waits until it is completed.
async fn completed(world: &World, id: &str) -> DeploymentView {
    status(world, id, &["DEPLOYMENT_READY"]).await;
    world.db.db.request_switch(id).await.unwrap();
    world.db.db.notify_work(id).await.unwrap();
    let completed = status(world, id, &["COMPLETED"]).await;
    let told = events(world, id).await;
    let seqs: Vec<i64> = told.iter().map(|event| event.seq).collect();
    assert_eq!(seqs, (1..=i64::try_from(told.len()).unwrap()).collect::<Vec<_>>(), "one sequence over all attempts");
    completed
}

/// Codes of one attempt.
async fn codes_of(world: &World, id: &str, attempt: i32) -> Vec<String> {
    let told = events(world, id).await;
    let of: Vec<_> = told.into_iter().filter(|event| event.attempt == attempt).collect();
    codes(&of).into_iter().map(str::to_owned).collect()
}

fn execution_fault(state: &str, outcome: Outcome) -> Faults {
    let fault = ExecutionFault { state: state.into(), outcome };
    Faults { executions: [("*".to_owned(), fault)].into(), ..Faults::default() }
}

fn fail() -> Outcome {
    Outcome::Fail { error: "Lambda.Unknown".into(), cause: "the task broke".into() }
}

fn denied(call: &str) -> Faults {
    let fault = CallFault { deny: true, ..CallFault::default() };
    Faults { calls: [(call.to_owned(), fault)].into(), ..Faults::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_build_is_built_anew_from_the_commit_that_mends_it() {
    let world = World::with_files(vec![SourceFile::new("Dockerfile", "FROM busybox:1\nRUN exit 3\n")]).await;
    let replica = Replica::start(&world, &[]);
    let id = deploy(&world, "main").await;
    let before = failed(&world, &id, ErrorCode::BuildFailed).await;
    world.github.repositories().commit(OWNER, &world.repo, "main", tiny()).await.unwrap();
    retry(&world, &id).await;
    let after = completed(&world, &id).await;
    assert_eq!((after.attempt, after.error_code, after.error_message), (2, None, None));
    assert_ne!(before.commit_sha, after.commit_sha);
    let past = world.db.db.past_attempts(&id).await.unwrap();
    assert_eq!(past.len(), 1);
    assert_eq!(
        (past[0].attempt, past[0].step.as_str(), past[0].error_code.as_str()),
        (1, "build_image", "BUILD_FAILED")
    );
    assert_eq!(past[0].commit_sha, before.commit_sha);
    let told = codes_of(&world, &id, 2).await;
    assert_eq!(told[..2], ["retry_started", "clone_started"]);
    let effects = world.sandbox.effects(&world.ecr_repository());
    assert_eq!(effects.pushes.values().copied().collect::<Vec<_>>(), [1]);
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_execution_is_started_again_by_the_same_image_without_a_build() {
    let world = World::with_files(hello("2.0.0")).await;
    world.sandbox.faults().set(execution_fault("EnsureInfra", fail()));
    let replica = Replica::start(&world, &[]);
    let id = deploy(&world, "main").await;
    let before = failed(&world, &id, ErrorCode::ExecutionFailed).await;
    world.sandbox.faults().clear();
    retry(&world, &id).await;
    let after = completed(&world, &id).await;
    assert_eq!(before.image_digest, after.image_digest);
    assert_ne!(before.execution_arn, after.execution_arn);
    assert!(after.image_uri.unwrap().ends_with(&format!("{id}-2")));
    let told = codes_of(&world, &id, 2).await;
    assert_eq!(told[..2], ["retry_started", "push_stage_started"]);
    assert!(!told.iter().any(|code| code.starts_with("build") || code == "push_started"), "{told:?}");
    let effects = world.sandbox.effects(&world.ecr_repository());
    assert_eq!(
        effects.executions.values().copied().collect::<Vec<_>>(),
        [2],
        "one digest, two executions: {effects:?}"
    );
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_failed_attempt_left_in_code_deploy_is_stopped_before_the_pipeline_starts_again() {
    let world = World::with_files(hello("2.0.0")).await;
    world.sandbox.faults().set(execution_fault("CheckDeployment", fail()));
    let replica = Replica::start(&world, &[]);
    let id = deploy(&world, "main").await;
    let before = failed(&world, &id, ErrorCode::ExecutionFailed).await;
    world.sandbox.faults().clear();
    retry(&world, &id).await;
    let after = completed(&world, &id).await;
    let left = before.code_deploy_deployment_id.unwrap();
    assert_ne!(Some(&left), after.code_deploy_deployment_id.as_ref());
    let effects = world.sandbox.effects(&world.ecr_repository());
    assert_eq!(effects.stopped.get(&left), Some(&1), "{effects:?}");
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_execution_that_still_runs_is_followed_on() {
    let world = World::with_files(hello("2.0.0")).await;
    world.sandbox.faults().set(execution_fault("EnsureInfra", Outcome::Stuck));
    let impatient = Replica::start(&world, &["--follow-limit-ms=1000"]);
    let id = deploy(&world, "main").await;
    let before = failed(&world, &id, ErrorCode::FollowTimedOut).await;
    impatient.stop().await;
    let replica = Replica::start(&world, &[]);
    retry(&world, &id).await;
    wait_for("it is followed on", async || {
        world.db.db.deployment(&id).await.unwrap().unwrap().execution_arn == before.execution_arn
    })
    .await;
    world.sandbox.faults().clear();
    completed(&world, &id).await;
    assert_eq!(world.sandbox.effects(&world.ecr_repository()).executions.values().sum::<u32>(), 1);
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_execution_that_was_not_found_in_time_is_looked_for_again() {
    let world = World::with_files(hello("2.0.0")).await;
    world.sandbox.faults().set(Faults { secret_delay_ms: 2_000, ..Faults::default() });
    let replica = Replica::start(&world, &["--execution-wait-ms=500"]);
    let id = deploy(&world, "main").await;
    failed(&world, &id, ErrorCode::ExecutionNotFound).await;
    let services =
        panda::app::services(&world.config(&[]), Some(world.controller()), &Metrics::default()).await.unwrap();
    let secret = services.names.secret(OWNER, &world.repo);
    wait_for("its ARN is there", async || services.aws.controller().secrets.value(&secret).await.unwrap().is_some())
        .await;
    retry(&world, &id).await;
    completed(&world, &id).await;
    assert_eq!(world.sandbox.effects(&world.ecr_repository()).executions.values().sum::<u32>(), 1);
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_green_that_was_not_healthy_is_checked_again() {
    // It has nothing to show until somebody asks it to heal.
    let heal = "#!/bin/sh\necho 'Content-Type: text/plain'\necho\necho fine >/www/index.html\necho healed\n";
    let dockerfile = "FROM busybox:1\nCOPY heal /www/cgi-bin/heal\nRUN chmod +x /www/cgi-bin/heal\nCMD exec httpd -f -p \"$PORT\" -h /www\n";
    let files = vec![SourceFile::new("Dockerfile", dockerfile), SourceFile::new("heal", heal)];
    let world = World::with_files(files).await;
    let replica = Replica::start(&world, &[]);
    let id = deploy(&world, "main").await;
    let before = failed(&world, &id, ErrorCode::GreenUnhealthy).await;
    let healed = reqwest::get(format!("{}/cgi-bin/heal", before.green_url.unwrap())).await.unwrap();
    assert_eq!(healed.text().await.unwrap(), "healed\n");
    retry(&world, &id).await;
    completed(&world, &id).await;
    let effects = world.sandbox.effects(&world.ecr_repository());
    assert_eq!(effects.pushes.values().copied().collect::<Vec<_>>(), [1], "{effects:?}");
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switch_that_was_denied_is_made_by_the_retry() {
    let world = World::with_files(hello("2.0.0")).await;
    let replica = Replica::start(&world, &[]);
    let id = deploy(&world, "main").await;
    status(&world, &id, &["DEPLOYMENT_READY"]).await;
    world.sandbox.faults().set(denied("codedeploy:ContinueDeployment"));
    world.db.db.request_switch(&id).await.unwrap();
    world.db.db.notify_work(&id).await.unwrap();
    failed(&world, &id, ErrorCode::SwitchFailed).await;
    world.sandbox.faults().clear();
    retry(&world, &id).await;
    status(&world, &id, &["COMPLETED"]).await;
    let effects = world.sandbox.effects(&world.ecr_repository());
    assert_eq!(effects.continued.values().copied().collect::<Vec<_>>(), [1]);
    assert_eq!(effects.executions.values().sum::<u32>(), 1);
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shift_that_code_deploy_failed_begins_again_from_the_image() {
    let world = World::with_files(hello("2.0.0")).await;
    let replica = Replica::start(&world, &[]);
    let id = deploy(&world, "main").await;
    status(&world, &id, &["DEPLOYMENT_READY"]).await;
    world.sandbox.faults().set(Faults { shifts: [("*".to_owned(), ShiftFault::Stop)].into(), ..Faults::default() });
    world.db.db.request_switch(&id).await.unwrap();
    world.db.db.notify_work(&id).await.unwrap();
    failed(&world, &id, ErrorCode::SwitchFailed).await;
    world.sandbox.faults().clear();
    retry(&world, &id).await;
    let ready = status(&world, &id, &["DEPLOYMENT_READY"]).await;
    assert!(ready.switch_requested_at.is_none(), "the person's yes was to the attempt before");
    completed(&world, &id).await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_build_is_fetched_and_built_again() {
    let world = World::with_files(slow_build(30)).await;
    let replica = Replica::start(&world, &[]);
    let id = deploy(&world, "main").await;
    building(&world, &id).await;
    world.db.db.request_cancel(&id).await.unwrap();
    world.db.db.notify_work(&id).await.unwrap();
    failed(&world, &id, ErrorCode::Cancelled).await;
    world.github.repositories().commit(OWNER, &world.repo, "main", tiny()).await.unwrap();
    retry(&world, &id).await;
    completed(&world, &id).await;
    let past = world.db.db.past_attempts(&id).await.unwrap();
    assert_eq!((past[0].step.as_str(), past[0].error_code.as_str()), ("cancel", "CANCELLED"));
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_deployment_that_was_ready_is_made_ready_again_by_its_image() {
    let world = World::with_files(hello("2.0.0")).await;
    let replica = Replica::start(&world, &[]);
    let id = deploy(&world, "main").await;
    let before = status(&world, &id, &["DEPLOYMENT_READY"]).await;
    world.db.db.request_cancel(&id).await.unwrap();
    world.db.db.notify_work(&id).await.unwrap();
    failed(&world, &id, ErrorCode::Cancelled).await;
    retry(&world, &id).await;
    let after = completed(&world, &id).await;
    assert_eq!(before.image_digest, after.image_digest);
    assert!(!codes_of(&world, &id, 2).await.contains(&"build_started".to_owned()));
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_that_fails_again_can_be_tried_again_with_what_the_first_one_left() {
    let world = World::with_files(hello("2.0.0")).await;
    world.sandbox.faults().set(execution_fault("EnsureInfra", fail()));
    let replica = Replica::start(&world, &[]);
    let id = deploy(&world, "main").await;
    failed(&world, &id, ErrorCode::ExecutionFailed).await;
    // The second attempt cannot even find out where to go on.
    world.sandbox.faults().set(denied("states:DescribeExecution"));
    retry(&world, &id).await;
    failed(&world, &id, ErrorCode::ExecutionUnreadable).await;
    world.sandbox.faults().clear();
    retry(&world, &id).await;
    let after = completed(&world, &id).await;
    assert_eq!(after.attempt, 3);
    let past = world.db.db.past_attempts(&id).await.unwrap();
    assert_eq!(past.iter().map(|past| past.step.as_str()).collect::<Vec<_>>(), ["follow_execution", "resume"]);
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_whose_replica_dies_is_taken_over_and_starts_the_pipeline_once() {
    let world = World::with_files(hello("2.0.0")).await;
    world.sandbox.faults().set(execution_fault("EnsureInfra", fail()));
    let replica = Replica::start(&world, &[]);
    let id = deploy(&world, "main").await;
    failed(&world, &id, ErrorCode::ExecutionFailed).await;
    replica.stop().await;
    world.sandbox.faults().clear();
    // The image gets its second tag, and nobody hears of it: the replica that did it dies in the middle.
    let lost = CallFault { lose_reply: 100, ..CallFault::default() };
    world.sandbox.faults().set(Faults { calls: [("ecr:PutImage".to_owned(), lost)].into(), ..Faults::default() });
    let dying = Replica::start(&world, &["--lease-ms=1500"]);
    retry(&world, &id).await;
    wait_for("the image is tagged", async || {
        world.sandbox.all_effects().calls.get("ecr:PutImage").is_some_and(|calls| calls.received > 0)
    })
    .await;
    dying.kill();
    world.sandbox.faults().clear();
    let other = Replica::start(&world, &["--lease-ms=1500"]);
    completed(&world, &id).await;
    let effects = world.sandbox.effects(&world.ecr_repository());
    assert_eq!(effects.executions.values().copied().collect::<Vec<_>>(), [2], "{effects:?}");
    other.stop().await;
}

#[tokio::test]
async fn only_a_failed_deployment_can_be_tried_again() {
    let world = World::with_files(tiny()).await;
    let id = deploy(&world, "main").await;
    assert_eq!(world.db.db.request_retry(&id).await.unwrap(), Wished::NotNow(Status::Running));
    assert_eq!(world.db.db.request_retry("dep_unknown").await.unwrap(), Wished::Unknown);
}
