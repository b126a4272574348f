//! The soak: replicas are killed, paused, shut down and cut from the database at random, over many deployments. It is not part of `make test`
//! (see `.config/nextest.toml`); `make soak` runs it for `PANDA_SOAK_MINUTES`. `PANDA_SOAK_SEED` repeats the order of faults.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::reconcile::{deploy, events};
use crate::streams::Plan;
use crate::support::commands::Commands;
use crate::support::environment::{Environment, tiny};
use crate::support::postgres_proxy::PostgresProxy;
use crate::support::process::Serve;
use crate::support::wait_for;

const REPLICAS: usize = 3;
const UNFINISHED: usize = 6;
/// Longest time between two faults, in milliseconds.
const TROUBLE_EVERY_MS: u64 = 4_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn soak__random_faults_lose_and_repeat_nothing() {
    let minutes = number("PANDA_SOAK_MINUTES").unwrap_or(10);
    let seed = number("PANDA_SOAK_SEED").unwrap_or_else(rand::random);
    println!("soak: {minutes} minutes, PANDA_SOAK_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let env = Environment::with_files(tiny()).await;
    let proxy = PostgresProxy::before(&env.db, true).await;
    let mut replicas: Vec<Serve> = (0..REPLICAS).map(|_| replica(&env, &proxy)).collect();
    let mut deployments: Vec<(Environment, String)> = Vec::new();
    let mut troubles: BTreeMap<&str, usize> = BTreeMap::new();
    let end = Instant::now() + Duration::from_secs(minutes * 60);
    while Instant::now() < end {
        advance(&env, &mut deployments, &mut random).await;
        tokio::time::sleep(Duration::from_millis(random.random_range(200..TROUBLE_EVERY_MS))).await;
        let victim = random.random_range(0..REPLICAS);
        let trouble = ["kill", "stop", "term", "cut"][random.random_range(0..4)];
        *troubles.entry(trouble).or_default() += 1;
        match trouble {
            "kill" => {
                replicas[victim].kill().await;
                replicas[victim] = replica(&env, &proxy);
            }
            "stop" => {
                replicas[victim].signal(Signal::SIGSTOP);
                // Sometimes past the lease.
                tokio::time::sleep(Duration::from_millis(random.random_range(100..3_000))).await;
                replicas[victim].signal(Signal::SIGCONT);
            }
            "term" => {
                replicas[victim].signal(Signal::SIGTERM);
                let status = replicas[victim].wait().await;
                assert!(status.success(), "{status}:\n{}", replicas[victim].log());
                replicas[victim] = replica(&env, &proxy);
            }
            _ => {
                proxy.set(false);
                tokio::time::sleep(Duration::from_millis(random.random_range(1..3_000))).await;
                proxy.set(true);
            }
        }
        for replica in &mut replicas {
            assert!(replica.ended().is_none(), "it ended by itself:\n{}", replica.log());
        }
    }
    for (_, id) in &deployments {
        at_an_end(&env, id).await;
    }
    let mut ends: BTreeMap<String, usize> = BTreeMap::new();
    for (env, id) in &deployments {
        *ends.entry(check(env, id).await).or_default() += 1;
    }
    println!("soak: {} deployments {ends:?}; troubles {troubles:?}; PANDA_SOAK_SEED={seed}", deployments.len());
    assert!(!deployments.is_empty());
}

/// The same as in `make test`, at ten times the size.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn soak__million_events_delivered_once_in_order() {
    let seed = number("PANDA_SOAK_SEED").unwrap_or_else(rand::random);
    println!("soak: PANDA_SOAK_SEED={seed}");
    let plan = Plan { events: 16_000, clients: 960, clients_of_all: 54, seed };
    assert!(crate::streams::run(plan).await >= 1_000_000);
}

/// A replica behind the fault proxy, with a short lease and few deployments, so that each replica has some.
fn replica(env: &Environment, proxy: &PostgresProxy) -> Serve {
    let database = format!("--database-url={}", proxy.url(&env.db));
    Serve::start(env, &[&database, "--lease-ms=1500", "--max-deployments=3", "--database-acquire-timeout-ms=1000"], &[])
}

/// Starts deployments while there are few, and switches about half of the ready ones.
async fn advance(env: &Environment, deployments: &mut Vec<(Environment, String)>, random: &mut StdRng) {
    let mut unfinished = 0;
    for (env, id) in deployments.iter() {
        let view = env.db.db.deployment(id).await.unwrap().unwrap();
        unfinished += usize::from(view.status == "RUNNING");
        // Decided by the id, so that a deployment that is not switched now is not switched later either.
        if view.status == "DEPLOYMENT_READY" && id.bytes().map(usize::from).sum::<usize>() % 2 == 0 {
            env.db.db.request_switch(id).await.unwrap();
        }
    }
    for _ in unfinished..UNFINISHED {
        if random.random_bool(0.5) {
            let env = env.another_repository(tiny()).await;
            let id = deploy(&env, "main").await;
            deployments.push((env, id));
        }
    }
}

/// Waits until a deployment is in a final or ready status.
async fn at_an_end(env: &Environment, id: &str) {
    wait_for(&format!("{id} is at its end"), async || {
        let view = env.db.db.deployment(id).await.unwrap().unwrap();
        let mut psql = env.db.psql().await;
        let sql = "SELECT replica_id IS NULL AND switch_requested_at IS NULL FROM deployments WHERE id = $1";
        let at_rest: bool = sqlx::query_scalar(sql).bind(id).fetch_one(&mut psql).await.unwrap();
        match view.status.as_str() {
            "COMPLETED" | "FAILED" => true,
            "DEPLOYMENT_READY" => at_rest,
            _ => false,
        }
    })
    .await;
}

/// Asserts every effect once, every event once and in order; returns the status.
async fn check(env: &Environment, id: &str) -> String {
    let view = env.db.db.deployment(id).await.unwrap().unwrap();
    let emitted = events(env, id).await;
    let seqs: Vec<i64> = emitted.iter().map(|event| event.seq).collect();
    assert_eq!(seqs, (1..=i64::try_from(emitted.len()).unwrap()).collect::<Vec<_>>(), "{id}");
    let ends = emitted.iter().filter(|event| ["completed", "ready"].contains(&event.code.as_str())).count();
    let effects = env.sandbox.effects(&env.ecr_repository());
    let (continued, expected) = match view.status.as_str() {
        "COMPLETED" => (1, 2),
        "DEPLOYMENT_READY" => (0, 1),
        status => panic!("{id} is {status}: {:?} {:?}", view.error_code, view.error_message),
    };
    assert_eq!(ends, expected, "{id}: ready and completed are each emitted once");
    assert_eq!(effects.pushes.values().copied().collect::<Vec<_>>(), [1], "{id}: {effects:?}");
    assert_eq!(effects.executions.values().copied().collect::<Vec<_>>(), [1], "{id}: {effects:?}");
    assert_eq!((effects.rules.len(), effects.targets.len()), (1, 1), "{id}: {effects:?}");
    assert_eq!(effects.continued.values().sum::<u32>(), continued, "{id}: {effects:?}");
    view.status
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text}: give a whole number")))
}
