//! Every client ends with exactly the rows of the table, once and in order, regardless of faults in connections, notifications and replicas, and of
//! the order in which transactions commit.

mod failover;
mod writers;

use std::collections::HashMap;
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sqlx::Executor;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::http::{Api, ExternalServices, Fixture};
use crate::support::db::{TestDb, through};
use crate::support::postgres_proxy::PostgresProxy;
use panda_testing::sse::{Addresses, Expected, Followed, RestlessClient};

/// Size of a run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Minimum number of written events, over all deployments.
    pub events: usize,
    /// Clients of single deployments.
    pub clients: usize,
    /// Clients of the feed; a third of them use a filter.
    pub clients_of_all: usize,
    /// Repeats the order of faults.
    pub seed: u64,
}

/// Concurrent replicas of the API.
const REPLICAS: usize = 3;

/// Writers that commit as the program does; each has separate deployments.
const WRITERS: usize = 8;

/// Longest time for the last clients to finish after everything is written.
const CATCH_UP: Duration = Duration::from_mins(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams__every_client_receives_exactly_the_table() {
    let plan = Plan { events: 2_000, clients: 960, clients_of_all: 54, seed: 7 };
    assert!(run(plan).await >= 100_000);
}

/// Runs the plan; returns the number of delivered events.
pub async fn run(plan: Plan) -> usize {
    let begun = Instant::now();
    let db = TestDb::new().await;
    let proxy = PostgresProxy::before(&db, true).await;
    let mut replicas = Vec::new();
    for _ in 0..REPLICAS {
        replicas.push(replica(&db, &proxy).await);
    }
    let addresses: Addresses = Arc::new(RwLock::new(replicas.iter().map(|api| api.address).collect()));

    let mut fixtures = Vec::new();
    for n in 0..WRITERS * 2 {
        fixtures.push(Fixture::begin_of(&db.db, "acme", &format!("shop-{n}")).await);
    }
    let mut late = Vec::new();
    for n in 0..4 {
        late.push(Fixture::begin_of(&db.db, "acme", &format!("late-{n}")).await.id().to_owned());
    }
    // Every client begins after the first event of all.
    fixtures[0].build_lines(0, 0).await;
    let first: String = sqlx::query_scalar("SELECT place || '.' || id FROM deployment_events")
        .fetch_one(&mut db.psql().await)
        .await
        .unwrap();

    let (tell, received) = watch::channel(None::<Expected>);
    let ids: Vec<String> = fixtures.iter().map(|fixture| fixture.id().to_owned()).chain(late.iter().cloned()).collect();
    let mut clients = JoinSet::new();
    for n in 0..plan.clients + plan.clients_of_all {
        let followed = match n.checked_sub(plan.clients) {
            None => Followed::One(ids[n % ids.len()].clone()),
            Some(n) if n % 3 == 2 => Followed::Repository(format!("shop-{}", n % fixtures.len())),
            Some(_) => Followed::All,
        };
        let client = RestlessClient::new(followed, &first, plan.seed.wrapping_add(n as u64));
        clients.spawn(client.run(Arc::clone(&addresses), received.clone()));
    }

    let mut writing = writers::start(&db, fixtures, late, plan);
    let mut random = StdRng::seed_from_u64(plan.seed);
    let mut troubles = 0;
    while !writing.is_empty() {
        let pause = Duration::from_millis(random.random_range(100..700));
        tokio::select! {
            done = writing.join_next() => done.unwrap().unwrap(),
            () = tokio::time::sleep(pause) => {
                troubles += 1;
                inject_fault(&mut random, &db, &proxy, &mut replicas, &addresses).await;
            }
        }
    }
    tell.send_replace(Some(expected(&db, &first).await));

    let mut delivered = 0;
    let end = tokio::time::sleep(CATCH_UP);
    tokio::pin!(end);
    while !clients.is_empty() {
        tokio::select! {
            done = clients.join_next() => delivered += done.unwrap().unwrap(),
            () = &mut end => panic!("{} clients never finished", clients.len()),
        }
    }
    println!("{delivered} events delivered, {troubles} troubles, in {:.1} s: {plan:?}", begun.elapsed().as_secs_f64());
    assert!(troubles > 0);
    delivered
}

/// An API with short streams of all deployments, behind the fault proxy.
async fn replica(db: &TestDb, proxy: &PostgresProxy) -> Api {
    // All clients share one address and reconnect often.
    let flags = ["--max-streams-per-client=10000", "--rate-per-client=0", "--stream-rotation-ms=4000"];
    Api::serve_with(&through(proxy, db), &ExternalServices::default(), &flags).await
}

/// Injects a random fault.
async fn inject_fault(
    random: &mut StdRng,
    db: &TestDb,
    proxy: &PostgresProxy,
    replicas: &mut [Api],
    addresses: &Addresses,
) {
    match random.random_range(0..4) {
        0 => {
            let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                        WHERE datname = current_database() AND query LIKE 'LISTEN%'";
            db.psql().await.execute(kill).await.unwrap();
        }
        1 => proxy.silence_listeners(),
        2 => {
            proxy.set(false);
            tokio::time::sleep(Duration::from_millis(random.random_range(1..300))).await;
            proxy.set(true);
        }
        _ => {
            let n = random.random_range(0..REPLICAS);
            let next = replica(db, proxy).await;
            addresses.write().unwrap()[n] = next.address;
            let before = std::mem::replace(&mut replicas[n], next);
            before.shutdown.cancel();
        }
    }
}

/// The table's events after the event `first`, for each kind of client.
async fn expected(db: &TestDb, first: &str) -> Expected {
    let sql = "SELECT e.place, e.id::text, e.deployment_id, d.repo FROM deployment_events e JOIN deployments d ON d.id = e.deployment_id
               ORDER BY e.place, e.deployment_id COLLATE \"C\", e.seq";
    let rows: Vec<(i64, String, String, String)> = sqlx::query_as(sql).fetch_all(&mut db.psql().await).await.unwrap();
    let mut expected: HashMap<Followed, Vec<String>> = HashMap::new();
    for (place, id, deployment, repo) in rows {
        let long = format!("{place}.{id}");
        if long != first {
            expected.entry(Followed::All).or_default().push(long.clone());
            expected.entry(Followed::Repository(repo)).or_default().push(long);
        }
        expected.entry(Followed::One(deployment)).or_default().push(id);
    }
    // By number, not by position: the two orders must agree.
    let sql = "SELECT deployment_id, array_agg(id::text ORDER BY seq) FROM deployment_events GROUP BY 1";
    let each: Vec<(String, Vec<String>)> = sqlx::query_as(sql).fetch_all(&mut db.psql().await).await.unwrap();
    for (deployment, ids) in each {
        assert_eq!(expected[&Followed::One(deployment)], ids);
    }
    Arc::new(expected)
}
