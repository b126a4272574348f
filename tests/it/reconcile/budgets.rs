//! Calls to AWS respect the quotas of each account, across replicas.

use std::time::{Duration, Instant};

use panda_sandbox::{BucketSize, ExecutionFault, Faults, Outcome};

use super::cancel::cancel;
use super::{Replica, deploy, status};
use crate::support::environment::{Environment, tiny};
use crate::support::wait_for;

const HISTORY: &str = "states:GetExecutionHistory";

/// AWS with this bucket for histories, and executions that stay in their first state.
fn bucket(env: &Environment, burst: f64, per_second: f64) {
    let hangs = ExecutionFault { state: "EnsureInfra".into(), outcome: Outcome::Stuck };
    env.sandbox.faults().set(Faults {
        quotas: [(HISTORY.to_owned(), BucketSize { burst, per_second })].into(),
        executions: [("*".to_owned(), hangs)].into(),
        ..Faults::default()
    });
}

async fn followed(env: &Environment, id: &str) {
    wait_for("the execution is followed", async || {
        env.db.db.deployment(id).await.unwrap().unwrap().facts.polling_state.is_some()
    })
    .await;
}

fn counts(env: &Environment) -> panda_sandbox::CallCount {
    env.sandbox.all_effects().calls.get(HISTORY).copied().unwrap_or_default()
}

/// Two replicas follow four executions with a tenth of the calls that their interval asks for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn budget__keeps_replicas_below_quota() {
    let env = Environment::with_files(tiny()).await;
    bucket(&env, 10.0, 4.0);
    let flags = ["--poll-interval-ms=20", "--aws-quotas=states:GetExecutionHistory=10/4"];
    let replicas = [Replica::start(&env, &flags), Replica::start(&env, &flags)];
    let mut ids = Vec::new();
    for _ in 0..4 {
        let env = env.another_repository(tiny()).await;
        ids.push(deploy(&env, "main").await);
    }
    for id in &ids {
        followed(&env, id).await;
    }
    let (before, began) = (counts(&env), Instant::now());
    let enough = 12;
    wait_for("polls continue", async || counts(&env).received >= before.received + enough).await;
    let after = counts(&env);
    assert_eq!(after.throttled, 0, "{after:?}");
    let most = 10.0 + 4.0 * began.elapsed().as_secs_f64();
    assert!(f64::from(after.received - before.received) <= most, "{after:?} after {before:?}");
    // The polls that wait neither delay the cancellation, nor does it take their turns.
    cancel(&env, &ids[0]).await;
    for id in &ids[1..] {
        status(&env, id, &["RUNNING"]).await;
    }
    for replica in replicas {
        replica.stop().await;
    }
}

/// AWS admits less than the published quota: its throttling shrinks the bucket, and no deployment fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn budget__finds_lower_quota() {
    let env = Environment::with_files(tiny()).await;
    bucket(&env, 3.0, 2.0);
    let replica = Replica::start(&env, &["--poll-interval-ms=20"]);
    let id = deploy(&env, "main").await;
    followed(&env, &id).await;
    let share = wait_for("the bucket shrinks", async || {
        let mut psql = env.db.psql().await;
        let share: f64 = sqlx::query_scalar("SELECT share FROM api_budgets WHERE call = $1")
            .bind(HISTORY)
            .fetch_optional(&mut psql)
            .await
            .unwrap()?;
        (share < 0.6).then_some(share)
    })
    .await;
    assert!(share >= 1.0 / 16.0, "{share}");
    env.sandbox.faults().clear();
    status(&env, &id, &["DEPLOYMENT_READY"]).await;
    replica.stop().await;
}

/// Buckets belong to the account that signs the call.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn budget__by_account() {
    let env = Environment::with_files(tiny()).await;
    let replica = Replica::start(&env, &[]);
    let id = deploy(&env, "main").await;
    status(&env, &id, &["DEPLOYMENT_READY"]).await;
    let mut psql = env.db.psql().await;
    let accounts: Vec<(String, String)> =
        sqlx::query_as("SELECT DISTINCT call, account_id FROM api_budgets").fetch_all(&mut psql).await.unwrap();
    let (user, controller) = (env.sandbox.user_account_id(), env.sandbox.controller_account_id());
    for (call, account) in [
        (HISTORY, controller),
        ("secretsmanager:GetSecretValue", controller),
        ("events:PutRule", user),
        ("ecr:GetAuthorizationToken", user),
    ] {
        let of: Vec<&str> = accounts.iter().filter(|(name, _)| name == call).map(|(_, of)| of.as_str()).collect();
        assert_eq!(of, [account], "{call}: {accounts:?}");
    }
    replica.stop().await;
}

/// A notification of work wakes a poll that would come later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poll__early_after_notification() {
    let env = Environment::with_files(tiny()).await;
    bucket(&env, 400.0, 20.0);
    let replica = Replica::start(&env, &["--poll-interval-ms=40000", "--execution-wait-ms=60000"]);
    let id = deploy(&env, "main").await;
    followed(&env, &id).await;
    let (before, began) = (counts(&env).received, Instant::now());
    wait_for("an early poll", async || {
        env.db.db.notify_work(&id).await.unwrap();
        counts(&env).received > before
    })
    .await;
    // A quarter of the interval after the last poll.
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    replica.stop().await;
}
