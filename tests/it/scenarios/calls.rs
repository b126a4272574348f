//! Errors, lost answers and partial failures of calls; CodeDeploy's queue; an event that is delivered twice.

use panda::domain::ErrorCode;
use panda_sandbox::Faults;

use super::{completes, environment, example};
use crate::reconcile::ecs_rollouts::second_pause;
use crate::reconcile::{Replica, deploy, events, rollouts, status};
use crate::support::commands::Commands;
use crate::support::wait_for;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors__by_chance_only_delay() {
    completes(&example("Some calls fail by chance")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors__by_chance_only_delay_with_lost_answers() {
    let mut scenario = example("Some calls fail by chance");
    scenario.faults.seed = 11;
    let errors = &mut scenario.faults.calls.get_mut("*").unwrap().errors;
    errors[1].lose_reply = true;
    errors[1].code = None;
    completes(&scenario).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_answers__take_effect_once() {
    completes(&example("Answers are lost")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_answers__cancellation_stops_once() {
    let env = environment(&example("Answers to a cancellation are lost")).await;
    let replica = Replica::start(&env, &[]);
    let id = deploy(&env, "main").await;
    status(&env, &id, &["DEPLOYMENT_READY"]).await;
    env.db.db.request_cancel(&id).await.unwrap();
    env.db.db.notify_work(&id).await.unwrap();
    let failed = status(&env, &id, &["FAILED"]).await;
    assert_eq!(failed.error_code.as_deref(), Some(ErrorCode::Cancelled.as_str()), "{:?}", failed.error_message);
    let effects = env.sandbox.effects(&env.ecr_repository());
    assert_eq!((effects.executions_stopped, effects.stopped.values().sum::<u32>()), (1, 1), "{effects:?}");
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors__vanished_execution_fails() {
    let env = environment(&example("An execution vanishes while it is followed")).await;
    let replica = Replica::start(&env, &[]);
    let id = deploy(&env, "main").await;
    let failed = status(&env, &id, &["FAILED"]).await;
    let code = failed.error_code.as_deref();
    assert_eq!(code, Some(ErrorCode::ExecutionUnreadable.as_str()), "{:?}", failed.error_message);
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batch_calls__partial_failures_only_delay() {
    completes(&example("Parts of batch calls fail")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn duplicate_event__one_switch() {
    let completed = completes(&example("One push starts two executions")).await;
    let effects = completed.env.sandbox.effects(&completed.env.ecr_repository());
    assert_eq!(effects.execution_arns.len(), 2, "{effects:?}");
    let followed = completed.view.facts.execution_arn.unwrap();
    assert!(effects.execution_arns.contains(&followed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn code_deploy__queued_deployment_is_awaited() {
    let scenario = example("CodeDeploy queues the deployment");
    let env = environment(&scenario).await;
    // The deployment is ready before CodeDeploy's status changes back.
    env.sandbox.faults().set(Faults::default());
    let replica = Replica::start(&env, &[]);
    let id = deploy(&env, "main").await;
    status(&env, &id, &["DEPLOYMENT_READY"]).await;
    env.sandbox.faults().set(scenario.faults);
    env.db.db.request_switch(&id).await.unwrap();
    env.db.db.notify_work(&id).await.unwrap();
    wait_for("the switch waits", async || {
        let view = env.db.db.deployment(&id).await.unwrap().unwrap();
        view.waiting_for.is_some_and(|why| why.contains("not ready for the switch yet"))
    })
    .await;
    env.sandbox.faults().clear();
    status(&env, &id, &["COMPLETED"]).await;
    let effects = env.sandbox.effects(&env.ecr_repository());
    assert_eq!(effects.continued.values().sum::<u32>(), 1, "{effects:?}");
    assert!(events(&env, &id).await.iter().any(|event| event.code == "completed"));
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scenario__ecs_shifts_in_approved_parts() {
    let env = environment(&example("ECS shifts the traffic")).await;
    let replica = Replica::start(&env, &["--watch-interval-ms=300"]);
    let id = rollouts::ready(&env).await;
    rollouts::approve(&env, &id).await;
    second_pause(&env, &id).await;
    rollouts::approve(&env, &id).await;
    status(&env, &id, &["COMPLETED"]).await;
    replica.stop().await;
}
