//! Rollouts of ECS that the pipeline does not report: found by cluster, service and the digest of the image.

use panda::domain::ErrorCode;
use panda::domain::catalogue::Lang;
use panda_sandbox::{ExecutionFault, Outcome, RolloutStyle};
use pretty_assertions::assert_eq;

use super::cancel::cancel;
use super::rollouts::{approve, ready, with_style};
use super::{Replica, deploy, events, status};
use crate::support::environment::{Environment, OWNER, hello};
use crate::support::wait_for;

const WATCHING: [&str; 1] = ["--watch-interval-ms=300"];

fn unreported(env: &Environment) {
    env.sandbox.faults().update(|faults| _ = faults.unreported.insert("*".to_owned()));
}

/// The service has an earlier rollout, which ended well: neither it nor its time fits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unreported_rollout__is_found_by_digest_and_switched() {
    let env = with_style(RolloutStyle::BlueGreen).await;
    let replica = Replica::start(&env, &WATCHING);
    let before = ready(&env).await;
    approve(&env, &before).await;
    let before = status(&env, &before, &["COMPLETED"]).await.facts.service_deployment_arn.unwrap();
    wait_for("the first rollout has ended", async || env.sandbox.is_ended(&before)).await;
    unreported(&env);
    env.github.repositories().commit(OWNER, &env.repo, "main", hello("3.0.0")).await.unwrap();
    let id = deploy(&env, "main").await;
    let found = status(&env, &id, &["DEPLOYMENT_READY"]).await.facts.service_deployment_arn.unwrap();
    assert_ne!(found, before);
    let emitted = events(&env, &id).await;
    let shown: Vec<_> = emitted.iter().filter(|event| event.code == "rollout_found").collect();
    assert_eq!(shown.len(), 1);
    let details = shown[0].render(Lang::En).details.unwrap();
    assert_eq!(details["serviceDeploymentArn"], found);
    approve(&env, &id).await;
    let url = status(&env, &id, &["COMPLETED"]).await.facts.blue_url.unwrap();
    assert!(reqwest::get(url).await.unwrap().text().await.unwrap().contains("3.0.0"));
    let effects = env.sandbox.effects(&env.ecr_repository());
    assert_eq!(effects.continued.get(&found), Some(&1), "{effects:?}");
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unreported_rollout__is_stopped_by_a_cancellation() {
    let env = with_style(RolloutStyle::BlueGreen).await;
    unreported(&env);
    let held = ExecutionFault { state: "CheckDeployment".into(), outcome: Outcome::Stuck };
    env.sandbox.faults().update(|faults| _ = faults.executions.insert("*".to_owned(), held));
    let replica = Replica::start(&env, &WATCHING);
    let id = deploy(&env, "main").await;
    wait_for("the pipeline has updated the service", async || {
        let facts = env.db.db.deployment(&id).await.unwrap().unwrap().facts;
        facts.polling_state.as_deref() == Some("REGISTER_TASK_COMPLETED")
    })
    .await;
    let cancelled = cancel(&env, &id).await;
    let arn = cancelled.facts.service_deployment_arn.expect("it was found");
    assert!(env.sandbox.is_ended(&arn), "its end is awaited");
    let effects = env.sandbox.effects(&env.ecr_repository());
    assert!(effects.stopped.get(&arn) == Some(&1) && effects.shifted.is_empty(), "{effects:?}");
    replica.stop().await;
}

/// `CodeDeploy` shifts the traffic, so that ECS has no deployment of the image.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unreported_rollout__not_found_in_time_fails_with_remedy() {
    let env = Environment::with_files(hello("2.0.0")).await;
    unreported(&env);
    let replica = Replica::start(&env, &["--step-limit-ms=3000"]);
    let id = deploy(&env, "main").await;
    let failed = status(&env, &id, &["FAILED"]).await;
    assert_eq!(failed.error_code.as_deref(), Some(ErrorCode::ExecutionOutputInvalid.as_str()));
    let (said, digest) = (failed.error_message.unwrap(), failed.facts.image_digest.unwrap());
    for part in [env.ecr_repository().as_str(), &digest, "serviceDeploymentArn", "codeDeployDeploymentId"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(failed.step, "find_rollout");
    replica.stop().await;
}
