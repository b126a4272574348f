//! Reads that lag behind writes, differently for each read.

use panda::domain::ErrorCode;

use super::{completes, environment, example};
use crate::reconcile::failures::said;
use crate::reconcile::{Replica, deploy, status};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn visibility__late_rule_and_target() {
    completes(&example("Rules and targets appear late")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn visibility__rule_after_push_is_named() {
    let env = environment(&example("A rule appears after the push")).await;
    let replica = Replica::start(&env, &["--execution-wait-ms=2000"]);
    let id = deploy(&env, "main").await;
    let failed = status(&env, &id, &["FAILED"]).await;
    let message = said(&env, &id).await;
    assert_eq!(failed.error_code.as_deref(), Some(ErrorCode::ExecutionNotFound.as_str()), "{message}");
    let effects = env.sandbox.effects(&env.ecr_repository());
    assert!(effects.executions.is_empty(), "{effects:?}");
    assert!(message.contains("rule") && message.contains("does not exist"), "{message}");
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn visibility__late_bus_policy() {
    let completed = completes(&example("The policy of the bus appears late")).await;
    // Putting the same statement again changes nothing.
    assert_eq!(completed.env.sandbox.all_effects().permissions.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn visibility__late_secret() {
    completes(&example("The secret appears late")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn visibility__late_execution() {
    completes(&example("The execution appears late")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn visibility__history_out_of_order() {
    completes(&example("Events of the history appear late and out of order")).await;
}
