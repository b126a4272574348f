//! One push may start two executions, because EventBridge delivers an event at least once.

use panda::clients::aws::Executions;
use panda::domain::catalogue::Lang;
use panda_sandbox::{ExecutionFault, Faults, Outcome};

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
