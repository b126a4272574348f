//! One unfinished deployment per target: others are refused, queued, or supersede it.

use panda::commands::CommandError;
use panda::commands::deploy::error::DeployError;
use panda::domain::deployment::Concurrency;
use panda_sandbox::{ExecutionFault, Faults, Outcome};
use pretty_assertions::assert_eq;

use super::{Replica, codes, connect, deploy, deploy_as, events, status};
use crate::support::commands::Commands;
use crate::support::environment::{Environment, OWNER, TOKEN, hello, tiny};
use crate::support::process::Serve;
use crate::support::wait_for;

/// Creates a deployment, which must succeed.
async fn deployed(env: &Environment, concurrency: Concurrency) -> (String, Option<i64>, Vec<String>) {
    let (id, created) = deploy_as(env, concurrency).await;
    let made = created.unwrap();
    (id, made.queue_position, made.superseded)
}

fn stuck() -> Faults {
    let fault = ExecutionFault { state: "EnsureInfra".into(), outcome: Outcome::Stuck };
    Faults { executions: [("*".to_owned(), fault)].into(), ..Faults::default() }
}

async fn position(env: &Environment, id: &str) -> Option<i64> {
    env.db.db.deployment(id).await.unwrap().unwrap().queue_position
}

async fn cancel(env: &Environment, id: &str) {
    env.db.db.request_cancel(id).await.unwrap();
    env.db.db.notify_work(id).await.unwrap();
    status(env, id, &["FAILED"]).await;
}

#[tokio::test]
async fn queue__second_deployment_refused_naming_first() {
    let env = Environment::with_files(tiny()).await;
    let first = deploy(&env, "main").await;
    let (_, created) = deploy_as(&env, Concurrency::Reject).await;
    let refused = created.unwrap_err();
    assert!(
        matches!(&refused, CommandError::Deploy(DeployError::TargetTaken { other, retry_of: None }) if *other == first),
        "{refused:?}"
    );
    let other_target = env.another_repository(tiny()).await;
    deploy(&other_target, "main").await;
}

#[tokio::test]
async fn queue__database_refuses_second_unfinished() {
    let env = Environment::with_files(tiny()).await;
    let first = deploy(&env, "main").await;
    let (second, ..) = deployed(&env, Concurrency::Queue).await;
    let mut psql = env.db.psql().await;
    let forced =
        sqlx::query("UPDATE deployments SET queued = false WHERE id = $1").bind(&second).execute(&mut psql).await;
    let refused = forced.unwrap_err().into_database_error().unwrap();
    assert_eq!(refused.constraint(), Some("deployments_one_per_target"));
    assert_eq!(position(&env, &first).await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queue__deployments_run_in_order() {
    let env = Environment::with_files(tiny()).await;
    env.sandbox.faults().set(stuck());
    let replica = Replica::start(&env, &[]);
    let first = deploy(&env, "main").await;
    let (second, place, _) = deployed(&env, Concurrency::Queue).await;
    assert_eq!(place, Some(1));
    let (third, place, _) = deployed(&env, Concurrency::Queue).await;
    assert_eq!(place, Some(2));
    let (fourth, ..) = deployed(&env, Concurrency::Queue).await;
    wait_for("the first deployment is followed", async || {
        env.db.db.deployment(&first).await.unwrap().unwrap().facts.polling_state.is_some()
    })
    .await;
    assert_eq!(codes(&events(&env, &second).await), ["deployment_queued"], "no replica works on it");
    cancel(&env, &third).await;
    assert_eq!(codes(&events(&env, &third).await), ["deployment_queued", "cancel_started", "cancelled"]);
    assert_eq!((position(&env, &second).await, position(&env, &fourth).await), (Some(1), Some(2)));
    env.sandbox.faults().clear();
    for id in [&first, &second, &fourth] {
        status(&env, id, &["DEPLOYMENT_READY"]).await;
        assert_eq!(position(&env, id).await, None);
        env.db.db.request_switch(id).await.unwrap();
        env.db.db.notify_work(id).await.unwrap();
        status(&env, id, &["COMPLETED"]).await;
    }
    let effects = env.sandbox.effects(&env.ecr_repository());
    assert_eq!(effects.executions.len(), 3);
    let mut psql = env.db.psql().await;
    let sql = "SELECT count(*) FROM deployments a JOIN deployments b ON a.id < b.id
               AND (coalesce(a.turn_at, a.started_at), a.completed_at) OVERLAPS (coalesce(b.turn_at, b.started_at), b.completed_at)
               WHERE a.status = 'COMPLETED' AND b.status = 'COMPLETED'";
    let together: i64 = sqlx::query_scalar(sql).fetch_one(&mut psql).await.unwrap();
    assert_eq!(together, 0, "no two at a time");
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queue__missed_dequeue_done_by_any_replica() {
    let env = Environment::with_files(tiny()).await;
    let first = deploy(&env, "main").await;
    let (second, ..) = deployed(&env, Concurrency::Queue).await;
    // The replica that finished the first deployment died right after its commit.
    let mut psql = env.db.psql().await;
    let sql = "UPDATE deployments SET status = 'FAILED', error_code = 'INTERNAL', completed_at = now() WHERE id = $1";
    sqlx::query(sql).bind(&first).execute(&mut psql).await.unwrap();
    let replica = Replica::start(&env, &[]);
    status(&env, &second, &["DEPLOYMENT_READY"]).await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queue__newer_supersedes_all_before() {
    let env = Environment::with_files(hello("2.0.0")).await;
    let replica = Replica::start(&env, &[]);
    let ready = deploy(&env, "main").await;
    status(&env, &ready, &["DEPLOYMENT_READY"]).await;
    let (waiting, ..) = deployed(&env, Concurrency::Queue).await;
    let (newest, place, mut superseded) = deployed(&env, Concurrency::Supersede).await;
    let mut all = vec![ready.clone(), waiting.clone()];
    all.sort();
    superseded.sort();
    assert_eq!((place, superseded), (Some(1), all));
    status(&env, &newest, &["DEPLOYMENT_READY"]).await;
    for id in [&ready, &waiting] {
        let ended = status(&env, id, &["FAILED"]).await;
        assert_eq!((ended.error_code.as_deref(), ended.superseded_by.as_ref()), (Some("CANCELLED"), Some(&newest)));
        assert!(ended.error_message.unwrap().contains(&newest), "it says by which");
    }
    let effects = env.sandbox.effects(&env.ecr_repository());
    assert_eq!(effects.stopped.values().copied().collect::<Vec<_>>(), [1], "CodeDeploy was stopped: {effects:?}");
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queue__two_hundred_concurrent_requests_run_one() {
    let env = Environment::with_files(tiny()).await;
    let replicas = [Serve::start(&env, &[], &[]), Serve::start(&env, &[], &[])];
    for replica in &replicas {
        replica.ready().await;
    }
    let (github, aws) = connect(&env, "main", TOKEN).await;
    let body = serde_json::json!({
        "githubConnectionId": github.id, "awsConnectionId": aws.id, "owner": OWNER, "repo": env.repo, "branch": "main",
    });
    let client = reqwest::Client::new();
    let answers = futures_util::future::join_all((0..200).map(|n: usize| {
        let request = client.post(format!("{}/api/v1/deploy", replicas[n % 2].url)).json(&body);
        async move {
            let answer = request.send().await.unwrap();
            (answer.status().as_u16(), answer.json::<serde_json::Value>().await.unwrap())
        }
    }))
    .await;
    let (started, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|(status, _)| *status == 200);
    assert_eq!((started.len(), refused.len()), (1, 199));
    let id = started[0].1["data"]["deploymentId"].as_str().unwrap();
    for (status, problem) in &refused {
        assert_eq!((*status, problem["errorCode"].as_str()), (409, Some("TARGET_TAKEN")), "{problem}");
        assert_eq!(problem["deploymentId"], id);
    }
    status(&env, id, &["DEPLOYMENT_READY"]).await;
    let effects = env.sandbox.effects(&env.ecr_repository());
    assert_eq!(effects.pushes.values().copied().collect::<Vec<_>>(), [1]);
}

#[tokio::test]
async fn queue__retry_does_not_wait() {
    let env = Environment::with_files(tiny()).await;
    let first = deploy(&env, "main").await;
    let (second, ..) = deployed(&env, Concurrency::Queue).await;
    let mut psql = env.db.psql().await;
    let sql = "UPDATE deployments SET status = 'FAILED', error_code = 'INTERNAL', error_message = 'x', completed_at = now() WHERE id = $1";
    sqlx::query(sql).bind(&first).execute(&mut psql).await.unwrap();
    let refused = env.db.db.request_retry(&first).await.unwrap_err();
    assert!(
        matches!(&refused, CommandError::Deploy(DeployError::TargetTaken { other, retry_of: Some(_) }) if *other == second),
        "{refused:?}"
    );
}
