//! One push may start two executions, because EventBridge delivers an event at least once.

use panda::clients::aws::Executions;
use panda::domain::catalogue::Lang;
use panda_sandbox::{ExecutionFault, Faults, Outcome, ShiftFault};

use super::{Replica, codes, deploy, events, status};
use crate::support::commands::Commands;
use crate::support::environment::InProcess as _;
use crate::support::environment::{Environment, hello};
use crate::support::wait_for;

pub async fn executions(env: &Environment) -> Executions {
    let services = env.services().await;
    services.aws.controller().executions.clone()
}

/// Holds the executions at `EnsureInfra`, and waits until the first one is followed.
pub async fn followed(env: &Environment) -> String {
    let held = ExecutionFault { state: "EnsureInfra".into(), outcome: Outcome::Stuck };
    env.sandbox.faults().set(Faults { executions: [("*".to_owned(), held)].into(), ..Faults::default() });
    let id = deploy(env, "main").await;
    wait_for("the execution is followed", async || {
        env.db.db.deployment(&id).await.unwrap().unwrap().facts.polling_state.is_some()
    })
    .await;
    id
}

/// Starts a second execution for the same push; returns both ARNs.
pub async fn redelivered(env: &Environment) -> (String, String) {
    assert!(env.sandbox.redeliver(&env.ecr_repository()));
    // An execution writes its ARN into the secret before its first state.
    let arns = wait_for("the second execution runs", async || {
        let arns = env.sandbox.effects(&env.ecr_repository()).execution_arns;
        let running = match arns.last() {
            Some(arn) => executions(env).await.history_after(arn, 0).await.unwrap().len() > 1,
            None => false,
        };
        (arns.len() == 2 && running).then_some(arns)
    })
    .await;
    (arns[0].clone(), arns[1].clone())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn follow__continues_with_other_execution_of_push() {
    let env = Environment::with_files(hello("2.0.0")).await;
    let replica = Replica::start(&env, &[]);
    let id = followed(&env).await;
    let (first, second) = redelivered(&env).await;
    executions(&env).await.stop(&first, "a duplicate").await.unwrap();
    wait_for("the second one is followed", async || {
        env.db.db.deployment(&id).await.unwrap().unwrap().facts.execution_arn.as_deref() == Some(second.as_str())
    })
    .await;
    env.sandbox.faults().clear();
    status(&env, &id, &["DEPLOYMENT_READY"]).await;
    env.db.db.request_switch(&id).await.unwrap();
    env.db.db.notify_work(&id).await.unwrap();
    let done = status(&env, &id, &["COMPLETED"]).await;
    assert_eq!(done.facts.execution_arn.as_deref(), Some(second.as_str()));
    let emitted = events(&env, &id).await;
    let replaced = emitted.iter().find(|event| event.code == "execution_replaced").expect("an event reports it");
    let shown = replaced.render(Lang::En);
    assert_eq!(shown.details.unwrap()["executionArn"], second.as_str());
    let count = |code: &str| emitted.iter().filter(|event| event.code == code).count();
    assert_eq!((count("infra_started"), count("infra_completed")), (2, 1), "{:?}", codes(&emitted));
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn follow__fails_when_both_executions_ended() {
    let env = Environment::with_files(hello("2.0.0")).await;
    let replica = Replica::start(&env, &[]);
    let id = followed(&env).await;
    let (first, second) = redelivered(&env).await;
    let executions = executions(&env).await;
    executions.stop(&second, "a duplicate").await.unwrap();
    executions.stop(&first, "by hand").await.unwrap();
    let failed = status(&env, &id, &["FAILED"]).await;
    assert_eq!(failed.error_code.as_deref(), Some("EXECUTION_ABORTED"), "{:?}", failed.error_message);
    assert!(failed.error_message.unwrap().contains("by hand"));
    assert!(!codes(&events(&env, &id).await).contains(&"execution_replaced"));
    replica.stop().await;
}

/// A deployment that is ready, whose rollout the second execution of its push stops; returns its id and both ARNs.
async fn ready_then_stopped(env: &Environment) -> (String, String, String) {
    let id = deploy(env, "main").await;
    let ready = status(env, &id, &["DEPLOYMENT_READY"]).await;
    let (first, second) = redelivered(env).await;
    let rollout = ready.facts.code_deploy_deployment_id.unwrap();
    wait_for("the second execution stops the first rollout", async || env.sandbox.is_ended(&rollout)).await;
    (id, first, second)
}

async fn completed_with(env: &Environment, id: &str, second: &str) {
    let done = status(env, id, &["COMPLETED"]).await;
    assert_eq!(done.facts.execution_arn.as_deref(), Some(second));
    let emitted = events(env, id).await;
    let count = |code: &str| emitted.iter().filter(|event| event.code == code).count();
    let counts = ["execution_replaced", "infra_completed", "ready", "completed"].map(count);
    assert_eq!(counts, [1, 2, 2, 1], "{:?}", codes(&emitted));
    let effects = env.sandbox.effects(&env.ecr_repository());
    assert_eq!(effects.continued.values().collect::<Vec<_>>(), [&1], "{effects:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ready__other_execution_of_push_followed() {
    let env = Environment::with_files(hello("2.0.0")).await;
    let replica = Replica::start(&env, &["--watch-interval-ms=200"]);
    let (id, first, second) = Box::pin(ready_then_stopped(&env)).await;
    wait_for("it is ready again", async || {
        let view = env.db.db.deployment(&id).await.unwrap().unwrap();
        view.status == "DEPLOYMENT_READY" && view.facts.execution_arn.as_deref() != Some(first.as_str())
    })
    .await;
    let statuses = "SELECT status FROM deployment_events WHERE deployment_id = $1 ORDER BY seq";
    let mut statuses: Vec<String> =
        sqlx::query_scalar(statuses).bind(&id).fetch_all(&mut env.db.psql().await).await.unwrap();
    statuses.dedup();
    assert_eq!(statuses, ["RUNNING", "DEPLOYMENT_READY", "RUNNING", "DEPLOYMENT_READY"]);
    env.db.db.request_switch(&id).await.unwrap();
    env.db.db.notify_work(&id).await.unwrap();
    completed_with(&env, &id, &second).await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn switch__stays_requested_when_other_execution_followed() {
    let env = Environment::with_files(hello("2.0.0")).await;
    let replica = Replica::start(&env, &[]);
    let (id, _, second) = Box::pin(ready_then_stopped(&env)).await;
    env.db.db.request_switch(&id).await.unwrap();
    env.db.db.notify_work(&id).await.unwrap();
    completed_with(&env, &id, &second).await;
    replica.stop().await;
}

/// CodeDeploy begins no second rollout while it shifts the traffic of the first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shift__completed_beside_other_execution_of_push() {
    let env = Environment::with_files(hello("2.0.0")).await;
    let replica = Replica::start(&env, &[]);
    let id = deploy(&env, "main").await;
    status(&env, &id, &["DEPLOYMENT_READY"]).await;
    env.sandbox.faults().set(Faults { shifts: [("*".to_owned(), ShiftFault::Stuck)].into(), ..Faults::default() });
    env.db.db.request_switch(&id).await.unwrap();
    env.db.db.notify_work(&id).await.unwrap();
    let step = async || env.db.db.deployment(&id).await.unwrap().unwrap().step;
    wait_for("the traffic is being shifted", async || step().await == "confirm_switch").await;
    let (first, _) = redelivered(&env).await;
    env.sandbox.faults().clear();
    let done = status(&env, &id, &["COMPLETED"]).await;
    assert_eq!(done.facts.execution_arn.as_deref(), Some(first.as_str()));
    let emitted = events(&env, &id).await;
    let count = |code: &str| emitted.iter().filter(|event| event.code == code).count();
    assert_eq!((count("execution_replaced"), count("completed")), (0, 1), "{:?}", codes(&emitted));
    replica.stop().await;
}

/// The second rollout takes the place of the first while green is checked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_check__other_execution_of_push_followed() {
    let env = Environment::with_files(hello("2.0.0")).await;
    let replica = Replica::start(&env, &["--watch-interval-ms=200", "--health-interval-ms=1500"]);
    let id = deploy(&env, "main").await;
    let step = async || env.db.db.deployment(&id).await.unwrap().unwrap().step;
    wait_for("green is checked", async || step().await == "verify_green").await;
    let (first, second) = redelivered(&env).await;
    wait_for("it is ready with the second execution", async || {
        let view = env.db.db.deployment(&id).await.unwrap().unwrap();
        view.status == "DEPLOYMENT_READY" && view.facts.execution_arn.as_deref() != Some(first.as_str())
    })
    .await;
    env.db.db.request_switch(&id).await.unwrap();
    env.db.db.notify_work(&id).await.unwrap();
    let done = status(&env, &id, &["COMPLETED"]).await;
    assert_eq!(done.facts.execution_arn.as_deref(), Some(second.as_str()));
    let effects = env.sandbox.effects(&env.ecr_repository());
    assert_eq!(effects.continued.values().collect::<Vec<_>>(), [&1], "{effects:?}");
    replica.stop().await;
}
