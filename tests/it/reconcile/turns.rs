//! One unfinished deployment of a target at a time: the others are refused, wait in order, or take its place.

use panda::db::create::{Created, Refusal};
use panda::db::wishes::Wished;
use panda::domain::deployment::Concurrency;
use panda::sandbox::{ExecutionFault, Faults, Outcome};
use pretty_assertions::assert_eq;

use super::{Replica, codes, connect, deploy, deploy_as, events, status};
use crate::support::process::Serve;
use crate::support::wait_for;
use crate::support::wishes::Wishes;
use crate::support::world::{OWNER, TOKEN, World, hello, tiny};

/// A new deployment that has to be made.
async fn deployed(world: &World, concurrency: Concurrency) -> (String, Option<i64>, Vec<String>) {
    let (id, created) = deploy_as(world, concurrency).await;
    match created {
        Created::New(made) => (id, made.queue_position, made.superseded),
        other => panic!("{other:?}"),
    }
}

fn stuck() -> Faults {
    let fault = ExecutionFault { state: "EnsureInfra".into(), outcome: Outcome::Stuck };
    Faults { executions: [("*".to_owned(), fault)].into(), ..Faults::default() }
}

async fn position(world: &World, id: &str) -> Option<i64> {
    world.db.db.deployment(id).await.unwrap().unwrap().queue_position
}

async fn cancel(world: &World, id: &str) {
    assert_eq!(world.db.db.request_cancel(id).await.unwrap(), Wished::Accepted);
    world.db.db.notify_work(id).await.unwrap();
    status(world, id, &["FAILED"]).await;
}

#[tokio::test]
async fn a_second_deployment_is_refused_and_the_first_one_named() {
    let world = World::with_files(tiny()).await;
    let first = deploy(&world, "main").await;
    let (_, created) = deploy_as(&world, Concurrency::Reject).await;
    assert_eq!(created, Created::Refused(Refusal::TargetTaken(first)));
    let other_target = world.another_repository(tiny()).await;
    deploy(&other_target, "main").await;
}

#[tokio::test]
async fn the_database_itself_refuses_a_second_unfinished_one() {
    let world = World::with_files(tiny()).await;
    let first = deploy(&world, "main").await;
    let (second, ..) = deployed(&world, Concurrency::Queue).await;
    let mut psql = world.db.psql().await;
    let forced =
        sqlx::query("UPDATE deployments SET queued = false WHERE id = $1").bind(&second).execute(&mut psql).await;
    let refused = forced.unwrap_err().into_database_error().unwrap();
    assert_eq!(refused.constraint(), Some("deployments_one_per_target"));
    assert_eq!(position(&world, &first).await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_that_wait_come_in_order_one_after_the_other() {
    let world = World::with_files(tiny()).await;
    world.sandbox.faults().set(stuck());
    let replica = Replica::start(&world, &[]);
    let first = deploy(&world, "main").await;
    let (second, place, _) = deployed(&world, Concurrency::Queue).await;
    assert_eq!(place, Some(1));
    let (third, place, _) = deployed(&world, Concurrency::Queue).await;
    assert_eq!(place, Some(2));
    let (fourth, ..) = deployed(&world, Concurrency::Queue).await;
    wait_for("the first is followed", async || {
        world.db.db.deployment(&first).await.unwrap().unwrap().polling_state.is_some()
    })
    .await;
    assert_eq!(codes(&events(&world, &second).await), ["deployment_queued"], "nobody does anything for it");
    cancel(&world, &third).await;
    assert_eq!(codes(&events(&world, &third).await), ["deployment_queued", "cancel_started", "cancelled"]);
    assert_eq!((position(&world, &second).await, position(&world, &fourth).await), (Some(1), Some(2)));
    world.sandbox.faults().clear();
    for id in [&first, &second, &fourth] {
        status(&world, id, &["DEPLOYMENT_READY"]).await;
        assert_eq!(position(&world, id).await, None);
        world.db.db.request_switch(id).await.unwrap();
        world.db.db.notify_work(id).await.unwrap();
        status(&world, id, &["COMPLETED"]).await;
    }
    let effects = world.sandbox.effects(&world.ecr_repository());
    assert_eq!(effects.executions.len(), 3);
    let mut psql = world.db.psql().await;
    let sql = "SELECT count(*) FROM deployments a JOIN deployments b ON a.id < b.id
               AND (coalesce(a.turn_at, a.started_at), a.completed_at) OVERLAPS (coalesce(b.turn_at, b.started_at), b.completed_at)
               WHERE a.status = 'COMPLETED' AND b.status = 'COMPLETED'";
    let together: i64 = sqlx::query_scalar(sql).fetch_one(&mut psql).await.unwrap();
    assert_eq!(together, 0, "no two at a time");
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_that_nobody_gave_is_given_by_whoever_comes() {
    let world = World::with_files(tiny()).await;
    let first = deploy(&world, "main").await;
    let (second, ..) = deployed(&world, Concurrency::Queue).await;
    // The replica that ended the first died right after its commit.
    let mut psql = world.db.psql().await;
    let sql = "UPDATE deployments SET status = 'FAILED', error_code = 'INTERNAL', completed_at = now() WHERE id = $1";
    sqlx::query(sql).bind(&first).execute(&mut psql).await.unwrap();
    let replica = Replica::start(&world, &[]);
    status(&world, &second, &["DEPLOYMENT_READY"]).await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_one_takes_the_place_of_all_before_it() {
    let world = World::with_files(hello("2.0.0")).await;
    let replica = Replica::start(&world, &[]);
    let ready = deploy(&world, "main").await;
    status(&world, &ready, &["DEPLOYMENT_READY"]).await;
    let (waiting, ..) = deployed(&world, Concurrency::Queue).await;
    let (newest, place, mut superseded) = deployed(&world, Concurrency::Supersede).await;
    let mut all = vec![ready.clone(), waiting.clone()];
    all.sort();
    superseded.sort();
    assert_eq!((place, superseded), (Some(1), all));
    status(&world, &newest, &["DEPLOYMENT_READY"]).await;
    for id in [&ready, &waiting] {
        let ended = status(&world, id, &["FAILED"]).await;
        assert_eq!((ended.error_code.as_deref(), ended.superseded_by.as_ref()), (Some("CANCELLED"), Some(&newest)));
        assert!(ended.error_message.unwrap().contains(&newest), "it says by which");
    }
    let effects = world.sandbox.effects(&world.ecr_repository());
    assert_eq!(effects.stopped.values().copied().collect::<Vec<_>>(), [1], "CodeDeploy was stopped: {effects:?}");
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_hundred_requests_at_once_to_two_replicas_exactly_one_runs() {
    let world = World::with_files(tiny()).await;
    let replicas = [Serve::start(&world, &[], &[]), Serve::start(&world, &[], &[])];
    for replica in &replicas {
        replica.ready().await;
    }
    let (github, aws) = connect(&world, "main", TOKEN).await;
    let body = serde_json::json!({
        "githubConnectionId": github.id, "awsConnectionId": aws.id, "owner": OWNER, "repo": world.repo, "branch": "main",
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
    status(&world, id, &["DEPLOYMENT_READY"]).await;
    let effects = world.sandbox.effects(&world.ecr_repository());
    assert_eq!(effects.pushes.values().copied().collect::<Vec<_>>(), [1]);
}

#[tokio::test]
async fn a_retry_waits_for_nobody() {
    let world = World::with_files(tiny()).await;
    let first = deploy(&world, "main").await;
    let (second, ..) = deployed(&world, Concurrency::Queue).await;
    let mut psql = world.db.psql().await;
    let sql = "UPDATE deployments SET status = 'FAILED', error_code = 'INTERNAL', error_message = 'x', completed_at = now() WHERE id = $1";
    sqlx::query(sql).bind(&first).execute(&mut psql).await.unwrap();
    assert_eq!(world.db.db.request_retry(&first).await.unwrap(), Wished::TargetTaken(second));
}
