//! A database that is away costs time, and nothing else.

use super::takeover::{building, slow_build, undisturbed};
use super::{Replica, deploy, status};
use crate::support::gate::Gate;
use crate::support::wait_for;
use crate::support::world::World;

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

async fn owner(world: &World, id: &str) -> Option<uuid::Uuid> {
    let mut psql = world.db.psql().await;
    sqlx::query_scalar("SELECT replica_id FROM deployments WHERE id = $1").bind(id).fetch_one(&mut psql).await.unwrap()
}
