//! Replicas as processes: killed, paused, told to leave.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use nix::sys::signal::Signal;
use panda::sandbox::{ExecutionFault, Faults, Outcome};
use pretty_assertions::assert_eq;

use crate::reconcile::takeover::{building, slow_build, undisturbed};
use crate::reconcile::{deploy, status};
use crate::support::process::Serve;
use crate::support::wait_for;
use crate::support::world::{World, tiny};

/// Deployments that one replica has when it is killed.
const HELD: usize = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_replica_had_is_moved_to_the_other_within_ten_seconds() {
    let world = World::with_files(tiny()).await;
    let stuck = ExecutionFault { state: "EnsureInfra".into(), outcome: Outcome::Stuck };
    world.sandbox.faults().set(Faults { executions: [("*".into(), stuck)].into(), ..Faults::default() });
    // The default lease: it is what operators are promised.
    let default_lease = "--lease-ms=3500";
    let mut dying = Serve::start(&world, &[default_lease], &[]);
    for _ in 0..HELD {
        let world = world.another_repository(tiny()).await;
        deploy(&world, "main").await;
    }
    wait_for("one replica follows all", async || held(&world, &dying, "follow_execution").await == HELD).await;
    let other = Serve::start(&world, &[default_lease], &[]);
    other.ready().await;
    assert_eq!(held(&world, &dying, "follow_execution").await, HELD, "what is another's is left alone");
    dying.signal(Signal::SIGKILL);
    let killed = Instant::now();
    wait_for("the other follows all", async || held(&world, &other, "follow_execution").await == HELD).await;
    // Two sweeps more than promised, for machines that are busy with other tests.
    assert!(killed.elapsed() < Duration::from_secs(12), "{:?}", killed.elapsed());
    dying.wait().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_was_paused_past_its_lease_forgets_what_is_anothers_by_then() {
    let world = World::with_files(slow_build(4)).await;
    let mut paused = Serve::start(&world, &["--lease-ms=1500"], &[]);
    let id = deploy(&world, "main").await;
    building(&world, &id).await;
    paused.signal(Signal::SIGSTOP);
    let other = Serve::start(&world, &["--lease-ms=1500"], &[]);
    wait_for("the other has it", async || held(&world, &other, "build_image").await == 1).await;
    paused.signal(Signal::SIGCONT);
    wait_for("the paused one forgets it", async || {
        let log = paused.log();
        log.contains("is another replica's by now") || log.contains("lease lost, dropping the deployment")
    })
    .await;
    status(&world, &id, &["DEPLOYMENT_READY"]).await;
    undisturbed(&world, &id).await;
    wait_for("it works on as a new replica", async || paused.log().matches("joined as a replica").count() == 2).await;
    paused.signal(Signal::SIGTERM);
    assert!(paused.wait().await.success());
    drop(other);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_told_to_leave_goes_within_five_seconds_of_a_build_and_ends_its_streams() {
    let world = World::with_files(slow_build(30)).await;
    let mut leaving = Serve::start(&world, &[], &[]);
    leaving.ready().await;
    let id = deploy(&world, "main").await;
    building(&world, &id).await;
    let stream = reqwest::get(format!("{}/api/v1/deploy/{id}/events", leaving.url)).await.unwrap();
    let reading = tokio::spawn(async move {
        let mut pieces = stream.bytes_stream();
        while let Some(piece) = pieces.next().await {
            piece.unwrap();
        }
    });
    leaving.signal(Signal::SIGTERM);
    let told = Instant::now();
    assert!(leaving.wait().await.success(), "{}", leaving.log());
    // A second more than promised, for machines that are busy with other tests.
    assert!(told.elapsed() < Duration::from_secs(6), "{:?}", told.elapsed());
    reading.await.expect("the stream ended by closing, not by breaking");
    let mut psql = world.db.psql().await;
    let sql = "SELECT (SELECT count(*) FROM replicas), (SELECT count(*) FROM deployments WHERE replica_id IS NOT NULL)";
    let left: (i64, i64) = sqlx::query_as(sql).fetch_one(&mut psql).await.unwrap();
    assert_eq!(left, (0, 0), "nothing is left of it");
}

/// How many deployments at `step` this process owns.
async fn held(world: &World, replica: &Serve, step: &str) -> usize {
    let mut psql = world.db.psql().await;
    let sql = "SELECT count(*) FROM deployments d JOIN replicas r ON r.id = d.replica_id WHERE r.name LIKE $1 AND d.step = $2";
    let name = format!("%/{}", replica.pid());
    let count: i64 = sqlx::query_scalar(sql).bind(name).bind(step).fetch_one(&mut psql).await.unwrap();
    usize::try_from(count).unwrap()
}
