//! Replicas as processes that are killed, paused and shut down.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use nix::sys::signal::Signal;
use panda_sandbox::{ExecutionFault, Faults, Outcome};
use pretty_assertions::assert_eq;

use crate::reconcile::takeover::{building, slow_build, undisturbed};
use crate::reconcile::{deploy, status};
use crate::support::environment::{Environment, tiny};
use crate::support::process::Serve;
use crate::support::wait_for;

/// Deployments owned by the replica that is killed.
const HELD: usize = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn takeover__within_ten_seconds_of_kill() {
    let env = Environment::with_files(tiny()).await;
    let stuck = ExecutionFault { state: "EnsureInfra".into(), outcome: Outcome::Stuck };
    env.sandbox.faults().set(Faults { executions: [("*".into(), stuck)].into(), ..Faults::default() });
    // The default lease, for which the documentation promises this time.
    let default_lease = "--lease-ms=3500";
    let mut dying = Serve::start(&env, &[default_lease], &[]);
    for _ in 0..HELD {
        let env = env.another_repository(tiny()).await;
        deploy(&env, "main").await;
    }
    wait_for("one replica follows all", async || held(&env, &dying, "follow_execution").await == HELD).await;
    let other = Serve::start(&env, &[default_lease], &[]);
    other.ready().await;
    assert_eq!(held(&env, &dying, "follow_execution").await, HELD, "deployments of other replicas are untouched");
    dying.signal(Signal::SIGKILL);
    let killed = Instant::now();
    wait_for("the other replica follows all deployments", async || {
        held(&env, &other, "follow_execution").await == HELD
    })
    .await;
    // Two polls more than promised, for machines that are busy with other tests.
    assert!(killed.elapsed() < Duration::from_secs(12), "{:?}", killed.elapsed());
    dying.wait().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn takeover__paused_past_lease_drops_its_work() {
    let env = Environment::with_files(slow_build(4)).await;
    let mut paused = Serve::start(&env, &["--lease-ms=1500"], &[]);
    let id = deploy(&env, "main").await;
    building(&env, &id).await;
    paused.signal(Signal::SIGSTOP);
    let other = Serve::start(&env, &["--lease-ms=1500"], &[]);
    wait_for("the other replica owns the deployment", async || held(&env, &other, "build_image").await == 1).await;
    paused.signal(Signal::SIGCONT);
    wait_for("the paused one forgets it", async || {
        let log = paused.log();
        log.contains("owned by another replica") || log.contains("lease lost, dropping the deployment")
    })
    .await;
    status(&env, &id, &["DEPLOYMENT_READY"]).await;
    undisturbed(&env, &id).await;
    wait_for("the process joins as a new replica", async || paused.log().matches("joined as a replica").count() == 2)
        .await;
    paused.signal(Signal::SIGTERM);
    assert!(paused.wait().await.success());
    drop(other);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown__within_five_seconds_during_build() {
    let env = Environment::with_files(slow_build(30)).await;
    let mut leaving = Serve::start(&env, &[], &[]);
    leaving.ready().await;
    let id = deploy(&env, "main").await;
    building(&env, &id).await;
    let stream = reqwest::get(format!("{}/api/v1/deploy/{id}/events", leaving.url)).await.unwrap();
    let reading = tokio::spawn(async move {
        let mut pieces = stream.bytes_stream();
        while let Some(piece) = pieces.next().await {
            piece.unwrap();
        }
    });
    leaving.signal(Signal::SIGTERM);
    let emitted = Instant::now();
    assert!(leaving.wait().await.success(), "{}", leaving.log());
    // A second more than promised, for machines that are busy with other tests.
    assert!(emitted.elapsed() < Duration::from_secs(6), "{:?}", emitted.elapsed());
    reading.await.expect("the stream ended by closing, not by breaking");
    let mut psql = env.db.psql().await;
    let sql = "SELECT (SELECT count(*) FROM replicas), (SELECT count(*) FROM deployments WHERE replica_id IS NOT NULL)";
    let left: (i64, i64) = sqlx::query_as(sql).fetch_one(&mut psql).await.unwrap();
    assert_eq!(left, (0, 0), "no process remains");
}

/// Number of deployments at `step` that this process owns.
async fn held(env: &Environment, replica: &Serve, step: &str) -> usize {
    let mut psql = env.db.psql().await;
    let sql = "SELECT count(*) FROM deployments d JOIN replicas r ON r.id = d.replica_id WHERE r.name LIKE $1 AND d.step = $2";
    let name = format!("%/{}", replica.pid());
    let count: i64 = sqlx::query_scalar(sql).bind(name).bind(step).fetch_one(&mut psql).await.unwrap();
    usize::try_from(count).unwrap()
}
