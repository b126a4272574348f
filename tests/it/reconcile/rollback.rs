//! Rollbacks: at AWS while blue lives, and by a new deployment afterwards.

use panda::commands::CommandError;
use panda::commands::deploy::error::DeployError;
use panda::commands::rollback::CarriedOut;
use panda::db::deployments::DeploymentView;
use panda::domain::ErrorCode;
use panda::domain::deployment::Concurrency;
use panda_sandbox::{CallFault, ExecutionFault, Faults, Outcome, ShiftFault};
use pretty_assertions::assert_eq;

use super::{Replica, codes, deploy, deploy_as, events, status};
use crate::support::commands::Commands;
use crate::support::environment::{Environment, OWNER, hello};
use crate::support::wait_for;

/// The watch does not look: what AWS does is seen by the rollback alone.
const NOT_WATCHING: [&str; 1] = ["--watch-interval-ms=600000"];
/// Short turns: a turn lasts nine tenths of the interval.
const WATCHING: [&str; 1] = ["--watch-interval-ms=300"];

/// Keeps blue of every repository alive.
fn hold_blue(env: &Environment) {
    env.sandbox.faults().update(|faults| _ = faults.shifts.insert("*".to_owned(), ShiftFault::HoldBlue));
}

async fn view(env: &Environment, id: &str) -> DeploymentView {
    env.db.db.deployment(id).await.unwrap().unwrap()
}

/// Deploys and switches a version.
async fn release(env: &Environment, version: &str) -> String {
    env.github.repositories().commit(OWNER, &env.repo, "main", hello(version)).await.unwrap();
    let id = deploy(env, "main").await;
    switch(env, &id).await;
    id
}

async fn switch(env: &Environment, id: &str) {
    status(env, id, &["DEPLOYMENT_READY"]).await;
    env.db.db.request_switch(id).await.unwrap();
    env.db.db.notify_work(id).await.unwrap();
    status(env, id, &["COMPLETED"]).await;
}

/// The version that production serves.
async fn serves(env: &Environment, id: &str) -> String {
    let url = view(env, id).await.facts.blue_url.expect("the production listener");
    reqwest::get(url).await.unwrap().text().await.unwrap()
}

async fn watch_ends(env: &Environment, id: &str) {
    wait_for("it is watched no more", async || !view(env, id).await.watched).await;
}

fn refused(outcome: Result<impl std::fmt::Debug, CommandError>) -> DeployError {
    match outcome {
        Err(CommandError::Deploy(refused)) => refused,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rollback__traffic_returns_at_aws_while_blue_lives() {
    let env = Environment::with_files(hello("1.0.0")).await;
    let replica = Replica::start(&env, &WATCHING);
    let before = release(&env, "2.0.0").await;
    watch_ends(&env, &before).await;
    hold_blue(&env);
    let id = release(&env, "3.0.0").await;
    assert!(serves(&env, &id).await.contains("3.0.0"));

    let requested = env.db.db.request_rollback(&id, None).await.unwrap();
    assert_eq!((requested.how, requested.deployment_id.as_str()), (CarriedOut::AtAws, id.as_str()));
    assert_eq!(requested.to.as_deref(), Some(before.as_str()));
    assert_eq!(requested.image_digest, view(&env, &before).await.facts.image_digest);
    // Another approver, or the same one, gets the same answer; or it has ended already.
    if let Ok(again) = env.db.db.request_rollback(&id, Some(&before)).await {
        assert_eq!(again, requested);
    }
    let failed = status(&env, &id, &["FAILED"]).await;
    assert_eq!(failed.error_code.as_deref(), Some(ErrorCode::RolledBackAfterSwitch.as_str()));
    assert_eq!(failed.facts.final_service.as_deref(), Some("blue"));
    assert!(failed.facts.restored_at.unwrap() >= failed.rollback_requested_at.unwrap() - chrono::Duration::seconds(1));
    assert!(serves(&env, &id).await.contains("2.0.0"), "the version before serves again");
    let emitted = events(&env, &id).await;
    let emitted = codes(&emitted);
    let rolled_back = ["completed", "rollback_started", "rollback_returning", "rollback_completed"];
    assert_eq!(emitted[emitted.len() - 5..emitted.len() - 1], rolled_back, "{emitted:?}");
    assert_eq!(emitted.last(), Some(&"rolled_back_after_switch"));
    let effects = env.sandbox.effects(&env.ecr_repository());
    assert_eq!(effects.stopped.values().collect::<Vec<_>>(), [&1], "{effects:?}");
    let late = refused(env.db.db.request_rollback(&id, None).await);
    assert!(matches!(late, DeployError::RollbackNotCompleted { .. }), "{late:?}");
    // A retry is a new attempt, and its own switch.
    env.sandbox.faults().clear();
    env.db.db.request_retry(&id).await.unwrap();
    env.db.db.notify_work(&id).await.unwrap();
    switch(&env, &id).await;
    assert!(serves(&env, &id).await.contains("3.0.0"));
    assert_eq!(view(&env, &id).await.facts.restored_at, None);
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rollback__afterwards_deploys_the_last_good_image() {
    let env = Environment::with_files(hello("1.0.0")).await;
    let replica = Replica::start(&env, &WATCHING);
    let good = release(&env, "2.0.0").await;
    watch_ends(&env, &good).await;
    let bad = release(&env, "3.0.0").await;
    watch_ends(&env, &bad).await;
    // One deployment holds the target, another one waits.
    let stuck = ExecutionFault { state: "EnsureInfra".into(), outcome: Outcome::Stuck };
    env.sandbox.faults().set(Faults { executions: [("*".to_owned(), stuck)].into(), ..Faults::default() });
    let holder = deploy(&env, "main").await;
    let (waiting, _) = deploy_as(&env, Concurrency::Queue).await;

    let requested = env.db.db.request_rollback(&bad, None).await.unwrap();
    assert_eq!((requested.how, requested.to.as_deref()), (CarriedOut::NewDeployment, Some(good.as_str())));
    assert_eq!(requested.queue_position, Some(1), "ahead of the queue");
    assert_eq!(view(&env, &waiting).await.queue_position, Some(2));
    assert_eq!(env.db.db.request_rollback(&bad, None).await.unwrap(), requested, "a second request starts nothing");
    let id = requested.deployment_id;
    for other in [&holder, &waiting] {
        env.db.db.request_cancel(other).await.unwrap();
        env.db.db.notify_work(other).await.unwrap();
        if other == &holder {
            env.sandbox.faults().clear();
        }
        status(&env, other, &["FAILED"]).await;
    }
    switch(&env, &id).await;
    let done = view(&env, &id).await;
    assert_eq!((done.kind.as_str(), done.caused_by.as_deref()), ("rollback", Some(bad.as_str())));
    assert_eq!(done.reason.as_deref(), Some("tests"));
    assert!(serves(&env, &id).await.contains("2.0.0"));
    let emitted = events(&env, &id).await;
    assert!(!codes(&emitted).contains(&"clone_started") && !codes(&emitted).contains(&"build_started"));
    assert_eq!(view(&env, &bad).await.rolled_back_by.as_deref(), Some(id.as_str()));
    // The one that was rolled back is not live any more, and never returns by itself.
    let stale = refused(env.db.db.request_rollback(&bad, None).await);
    assert!(matches!(&stale, DeployError::RollbackNotLive { live, .. } if *live == id), "{stale:?}");
    watch_ends(&env, &id).await;
    let nothing = refused(env.db.db.request_rollback(&id, None).await);
    assert!(matches!(nothing, DeployError::NoEarlierRelease(_)), "{nothing:?}");
    replica.stop().await;
}

/// AWS terminates blue between the last look of the watch and the request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rollback__too_late_at_aws_leaves_it_completed() {
    let env = Environment::with_files(hello("1.0.0")).await;
    let replica = Replica::start(&env, &NOT_WATCHING);
    let before = release(&env, "2.0.0").await;
    let id = release(&env, "3.0.0").await;
    for of in [&before, &id] {
        let rollout = view(&env, of).await.facts.code_deploy_deployment_id.unwrap();
        wait_for("AWS has ended it", async || env.sandbox.is_ended(&rollout)).await;
    }
    let requested = env.db.db.request_rollback(&id, None).await.unwrap();
    assert_eq!(requested.how, CarriedOut::AtAws, "the row is still watched");
    wait_for("the request is answered", async || view(&env, &id).await.rollback_requested_at.is_none()).await;
    let ended = view(&env, &id).await;
    assert_eq!((ended.status.as_str(), ended.watched, ended.facts.restored_at), ("COMPLETED", false, None));
    assert!(ended.facts.blue_terminated_at.is_some());
    let emitted = events(&env, &id).await;
    assert_eq!(codes(&emitted)[codes(&emitted).len() - 2..], ["rollback_started", "rollback_too_late"]);
    assert!(env.sandbox.effects(&env.ecr_repository()).stopped.is_empty());
    // A further request deploys the earlier version.
    let again = env.db.db.request_rollback(&id, None).await.unwrap();
    assert_eq!((again.how, again.to), (CarriedOut::NewDeployment, Some(before)));
    status(&env, &again.deployment_id, &["DEPLOYMENT_READY"]).await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rollback__refused_by_aws_may_be_requested_again() {
    let env = Environment::with_files(hello("1.0.0")).await;
    let replica = Replica::start(&env, &WATCHING);
    hold_blue(&env);
    let id = release(&env, "2.0.0").await;
    let denied = CallFault { deny: true, ..CallFault::default() };
    env.sandbox.faults().update(|faults| faults.calls = [("codedeploy:StopDeployment".to_owned(), denied)].into());
    let requested = env.db.db.request_rollback(&id, None).await.unwrap();
    assert_eq!((requested.how, requested.to), (CarriedOut::AtAws, None), "blue is not Panda's");
    wait_for("the request is answered", async || view(&env, &id).await.rollback_requested_at.is_none()).await;
    let kept = view(&env, &id).await;
    assert_eq!((kept.status.as_str(), kept.step.as_str(), kept.watched), ("COMPLETED", "watch_traffic", true));
    let emitted = events(&env, &id).await;
    let last = emitted.last().unwrap();
    assert_eq!(last.code, "rollback_failed");
    assert!(last.render(panda::domain::Lang::En).message.contains("StopDeployment"), "{last:?}");
    env.sandbox.faults().update(|faults| faults.calls.clear());
    env.db.db.request_rollback(&id, None).await.unwrap();
    let failed = status(&env, &id, &["FAILED"]).await;
    assert_eq!(failed.facts.final_service.as_deref(), Some("blue"));
    let emitted = events(&env, &id).await;
    assert_eq!(emitted.iter().filter(|event| event.code == "rollback_started").count(), 2, "one a request");
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rollback__image_gone_from_ecr_names_the_remedy() {
    let env = Environment::with_files(hello("1.0.0")).await;
    let replica = Replica::start(&env, &[&WATCHING[..], &["--keep-releases=7"]].concat());
    let before = release(&env, "2.0.0").await;
    let id = release(&env, "3.0.0").await;
    watch_ends(&env, &id).await;
    let gone = format!("sha256:{}", "0".repeat(64));
    let sql = "UPDATE deployments SET facts = facts || jsonb_build_object('image_digest', $2::text) WHERE id = $1";
    sqlx::query(sql).bind(&before).bind(&gone).execute(&mut env.db.psql().await).await.unwrap();
    let requested = env.db.db.request_rollback(&id, Some(&before)).await.unwrap();
    let failed = status(&env, &requested.deployment_id, &["FAILED"]).await;
    assert_eq!(failed.error_code.as_deref(), Some(ErrorCode::ImageNotFound.as_str()));
    let emitted = events(&env, &requested.deployment_id).await;
    let said = emitted.last().unwrap().render(panda::domain::Lang::En).message;
    assert!(said.contains("lifecycle policy") && said.contains("last 7 releases"), "{said}");
    replica.stop().await;
}
