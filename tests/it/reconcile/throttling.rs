//! Throttled calls take time, and do not fail a deployment (decision 0056).

use panda_sandbox::{CallFault, Faults};

use super::{Replica, codes, deploy, events, status};
use crate::support::commands::Commands;
use crate::support::environment::{Environment, hello};

/// Throttles the next calls: the SDK makes three of them before a step sees the first error.
fn throttle(env: &Environment, call: &str, times: u32) {
    let fault = CallFault { throttle: times, ..CallFault::default() };
    env.sandbox.faults().update(|faults| _ = faults.calls.insert(call.to_owned(), fault));
}

fn left(env: &Environment, call: &str) -> u32 {
    env.sandbox.faults().get().calls[call].throttle
}

/// Throttled for longer than the time limit for the execution's ARN.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn throttling__counts_not_against_execution_wait() {
    let env = Environment::with_files(hello("2.0.0")).await;
    throttle(&env, "secretsmanager:GetSecretValue", 12);
    let replica = Replica::start(&env, &["--execution-wait-ms=1500"]);
    let id = deploy(&env, "main").await;
    status(&env, &id, &["DEPLOYMENT_READY"]).await;
    assert_eq!(left(&env, "secretsmanager:GetSecretValue"), 0);
    let emitted = events(&env, &id).await;
    let waits: Vec<_> = emitted.iter().filter(|event| event.code == "step_waiting").collect();
    assert_eq!(waits.len(), 1, "{:?}", codes(&emitted));
    assert!(waits[0].params["reason"].as_str().unwrap().contains("ThrottlingException"), "{:?}", waits[0].params);
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn throttling__counts_not_against_step_limit() {
    let env = Environment::with_files(hello("2.0.0")).await;
    throttle(&env, "events:DescribeEventBus", 15);
    let replica = Replica::start(&env, &["--step-limit-ms=4000"]);
    let id = deploy(&env, "main").await;
    status(&env, &id, &["DEPLOYMENT_READY"]).await;
    assert_eq!(left(&env, "events:DescribeEventBus"), 0);
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn throttling__delays_switch() {
    let env = Environment::with_files(hello("2.0.0")).await;
    let replica = Replica::start(&env, &["--switch-limit-ms=4000"]);
    let id = deploy(&env, "main").await;
    status(&env, &id, &["DEPLOYMENT_READY"]).await;
    throttle(&env, "codedeploy:GetDeployment", 12);
    env.db.db.request_switch(&id).await.unwrap();
    env.db.db.notify_work(&id).await.unwrap();
    status(&env, &id, &["COMPLETED"]).await;
    assert_eq!(left(&env, "codedeploy:GetDeployment"), 0);
    let effects = env.sandbox.effects(&env.ecr_repository());
    assert_eq!(effects.continued.values().copied().collect::<Vec<_>>(), [1]);
    replica.stop().await;
}

/// Codes of the SDK's list that the sandbox does not send by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retryable_codes__never_fail_deployment() {
    let env = Environment::with_files(hello("2.0.0")).await;
    let calls = [
        ("events:PutRule", "RequestTimeout"),
        ("events:PutPermission", "ConcurrentModificationException"),
        ("ecr:GetAuthorizationToken", "BandwidthLimitExceeded"),
        ("states:DescribeExecution", "PriorRequestNotComplete"),
        ("states:GetExecutionHistory", "TransactionInProgressException"),
        ("secretsmanager:GetSecretValue", "RequestTimeTooSkewed"),
    ];
    let calls = calls.into_iter().map(|(call, code)| {
        let refuse = panda_sandbox::InjectedError { code: code.into(), message: "try again".into(), times: Some(4) };
        (call.to_owned(), CallFault { refuse: Some(refuse), ..CallFault::default() })
    });
    env.sandbox.faults().set(Faults { calls: calls.collect(), ..Faults::default() });
    let replica = Replica::start(&env, &["--execution-wait-ms=60000"]);
    let id = deploy(&env, "main").await;
    status(&env, &id, &["DEPLOYMENT_READY"]).await;
    replica.stop().await;
}
