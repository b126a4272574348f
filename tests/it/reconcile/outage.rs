//! A database that is away costs time, and nothing else.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use panda::sandbox::parts::{Postgres, PostgresOptions, temporary_folder};
use secrecy::ExposeSecret as _;

use super::held::Held;
use super::takeover::{building, slow_build, undisturbed};
use super::{Replica, deploy, status};
use crate::parts::is_alive;
use crate::support::db::TestDb;
use crate::support::gate::Gate;
use crate::support::wishes::Wishes;
use crate::support::world::{World, tiny};
use crate::support::{SOON, wait_for};

/// How often the database is restarted in one deployment.
const RESTARTS: usize = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_away_for_longer_than_the_lease_costs_only_time() {
    let world = World::with_files(slow_build(3)).await;
    let gate = Gate::before(&world.db, true).await;
    let database = format!("--database-url={}", gate.url(&world.db));
    let flags = [database.as_str(), "--lease-ms=1500", "--database-acquire-timeout-ms=500"];
    let replica = Replica::start(&world, &flags);
    let id = deploy(&world, "main").await;
    building(&world, &id).await;
    let before = owner(&world, &id).await.unwrap();
    gate.set(false);
    // It is shut until the lease has run out by the database's clock: whatever the replica still did would be another's to do.
    wait_for("the lease has run out", async || {
        let mut psql = world.db.psql().await;
        let sql =
            "SELECT heartbeat_at + lease_ms * interval '1 millisecond' < clock_timestamp() FROM replicas WHERE id = $1";
        let over: bool = sqlx::query_scalar(sql).bind(before).fetch_one(&mut psql).await.unwrap();
        over.then_some(())
    })
    .await;
    gate.set(true);
    status(&world, &id, &["DEPLOYMENT_READY"]).await;
    undisturbed(&world, &id).await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_cut_at_every_commit_lose_nothing_and_repeat_nothing() {
    let world = World::start().await;
    let gate = Gate::before(&world.db, true).await;
    let database = format!("--database-url={}", gate.url(&world.db));
    let flags = [database.as_str(), "--lease-ms=3000", "--database-acquire-timeout-ms=1000"];
    let replica = Replica::start(&world, &flags);
    let id = deploy(&world, "main").await;
    let mut seen = -1;
    // Each time that something new was committed, every connection is cut: answers under way are lost.
    wait_for("it is ready all the same", async || {
        let view = world.db.db.deployment(&id).await.unwrap().unwrap();
        assert_ne!(view.status, "FAILED", "{:?}", view.error_message);
        if view.event_count != seen {
            seen = view.event_count;
            gate.set(false);
            gate.set(true);
        }
        (view.status == "DEPLOYMENT_READY").then_some(())
    })
    .await;
    undisturbed(&world, &id).await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_whose_answers_are_lost_on_their_way_are_not_made_twice() {
    let world = World::with_files(tiny()).await;
    let gate = Gate::before(&world.db, true).await;
    let database = format!("--database-url={}", gate.url(&world.db));
    let flags = [database.as_str(), "--lease-ms=3000", "--database-acquire-timeout-ms=1000"];
    let replica = Replica::start(&world, &flags);
    let mut held = Held::install(&world.db).await;
    let id = deploy(&world, "main").await;
    // Twice in each step: one that tells something in its middle would otherwise never get past that.
    let mut lost: BTreeMap<String, usize> = BTreeMap::new();
    let deadline = Instant::now() + 3 * SOON;
    let mut switch = None;
    held.hold().await;
    loop {
        assert!(Instant::now() < deadline, "never completed; lost: {lost:?}");
        // While a commit is held nothing else is: the row says from which step it is.
        let is_held = held.holds().await;
        let view = world.db.db.deployment(&id).await.unwrap().unwrap();
        match view.status.as_str() {
            "COMPLETED" => break,
            // Beside the loop: it waits for the row while a commit is held.
            "DEPLOYMENT_READY" if switch.is_none() => {
                let (db, id) = (world.db.db.clone(), id.clone());
                switch = Some(tokio::spawn(async move { db.request_switch(&id).await }));
            }
            status => assert_ne!(status, "FAILED", "{:?}", view.error_message),
        }
        if !is_held {
            tokio::time::sleep(Duration::from_millis(5)).await;
        } else if lost.get(&view.step).is_none_or(|times| *times < 2) {
            *lost.entry(view.step).or_default() += 1;
            gate.mute();
            held.pass().await;
            gate.cut();
        } else {
            held.pass().await;
        }
    }
    held.release().await;
    switch.unwrap().await.unwrap().unwrap();
    // One for each step, the waiting one included.
    assert_eq!(lost.len(), 11, "{lost:?}");
    undisturbed(&world, &id).await;
    let effects = world.sandbox.effects(&world.ecr_repository());
    assert_eq!(effects.continued.values().copied().collect::<Vec<_>>(), [1], "{effects:?}");
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_fall_silent_are_not_waited_for_for_ever() {
    let world = World::start().await;
    let gate = Gate::before(&world.db, true).await;
    let database = format!("--database-url={}", gate.url(&world.db));
    let replica = Replica::start(&world, &[database.as_str(), "--database-acquire-timeout-ms=1000"]);
    let mut held = Held::install(&world.db).await;
    held.hold().await;
    let id = deploy(&world, "main").await;
    wait_for("it is claimed", async || held.holds().await).await;
    // As when a firewall forgets them: nothing is cut, nothing comes any more.
    gate.mute();
    held.finish().await;
    status(&world, &id, &["DEPLOYMENT_READY"]).await;
    undisturbed(&world, &id).await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_restarted_in_the_middle_of_commits_costs_only_time() {
    let dir = temporary_folder().unwrap();
    // Durable: what was committed is there after the restart.
    let options = PostgresOptions { data_dir: dir.path().join("postgres"), durable: true };
    let mut server = Postgres::start(options.clone()).await.unwrap();
    // Each start has another port; behind the door nobody notices.
    let gate = Gate::to(&format!("127.0.0.1:{}", server.port())).await;
    let mut url: url::Url = server.url().expose_secret().parse().unwrap();
    url.set_port(Some(gate.address().port())).unwrap();
    let db = TestDb::on(url).await;
    let world = World::start().await.with_database(db);
    let replica = Replica::start(&world, &["--lease-ms=3000", "--database-acquire-timeout-ms=1000"]);
    let mut held = Held::install(&world.db).await;
    let id = deploy(&world, "main").await;
    for _ in 0..RESTARTS {
        held.hold().await;
        wait_for("a commit is under way", async || held.holds().await).await;
        let lock = std::fs::read_to_string(options.data_dir.join("cluster/postmaster.pid")).unwrap();
        let pid: i32 = lock.lines().next().unwrap().parse().unwrap();
        // Immediate: as if the power had gone.
        kill(Pid::from_raw(pid), Signal::SIGQUIT).unwrap();
        wait_for("it is gone", async || !is_alive(pid)).await;
        drop(server);
        server = Postgres::start(options.clone()).await.unwrap();
        gate.lead_to(format!("127.0.0.1:{}", server.port()));
        held = Held::again(&world.db).await;
        let before = world.db.db.deployment(&id).await.unwrap().unwrap().event_count;
        wait_for("it goes on", async || {
            let view = world.db.db.deployment(&id).await.unwrap().unwrap();
            assert_ne!(view.status, "FAILED", "{:?}", view.error_message);
            view.event_count > before
        })
        .await;
    }
    status(&world, &id, &["DEPLOYMENT_READY"]).await;
    undisturbed(&world, &id).await;
    replica.stop().await;
    drop(world);
    server.stop().await.unwrap();
}

async fn owner(world: &World, id: &str) -> Option<uuid::Uuid> {
    let mut psql = world.db.psql().await;
    sqlx::query_scalar("SELECT replica_id FROM deployments WHERE id = $1").bind(id).fetch_one(&mut psql).await.unwrap()
}
