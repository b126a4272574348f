//! An unreachable database causes delay and nothing else.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use panda_dev_services::{Postgres, PostgresOptions, temporary_folder};
use secrecy::ExposeSecret as _;

use super::held_commit::Held;
use super::takeover::{building, slow_build, undisturbed};
use super::{Replica, deploy, status};
use crate::dev_services::is_alive;
use crate::support::commands::Commands;
use crate::support::db::TestDb;
use crate::support::environment::{Environment, tiny};
use crate::support::postgres_proxy::PostgresProxy;
use crate::support::{WAIT_LIMIT, wait_for};

/// Restarts of the database in one deployment.
const RESTARTS: usize = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn database_outage__longer_than_lease_only_delays() {
    let env = Environment::with_files(slow_build(3)).await;
    let proxy = PostgresProxy::before(&env.db, true).await;
    let database = format!("--database-url={}", proxy.url(&env.db));
    let flags = [database.as_str(), "--lease-ms=1500", "--database-acquire-timeout-ms=500"];
    let replica = Replica::start(&env, &flags);
    let id = deploy(&env, "main").await;
    building(&env, &id).await;
    let before = owner(&env, &id).await.unwrap();
    proxy.set(false);
    // Stays closed until the lease has expired by the database's clock: from then on another replica could take over.
    wait_for("the lease has run out", async || {
        let mut psql = env.db.psql().await;
        let sql =
            "SELECT heartbeat_at + lease_ms * interval '1 millisecond' < clock_timestamp() FROM replicas WHERE id = $1";
        let over: bool = sqlx::query_scalar(sql).bind(before).fetch_one(&mut psql).await.unwrap();
        over.then_some(())
    })
    .await;
    proxy.set(true);
    status(&env, &id, &["DEPLOYMENT_READY"]).await;
    undisturbed(&env, &id).await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn database_outage__connections_cut_at_every_commit() {
    let env = Environment::start().await;
    let proxy = PostgresProxy::before(&env.db, true).await;
    let database = format!("--database-url={}", proxy.url(&env.db));
    let flags = [database.as_str(), "--lease-ms=3000", "--database-acquire-timeout-ms=1000"];
    let replica = Replica::start(&env, &flags);
    let id = deploy(&env, "main").await;
    let mut seen = -1;
    // Each new commit is followed by cutting every connection, so that pending answers are lost.
    wait_for("the deployment is ready", async || {
        let view = env.db.db.deployment(&id).await.unwrap().unwrap();
        assert_ne!(view.status, "FAILED", "{:?}", view.error_message);
        if view.event_count != seen {
            seen = view.event_count;
            proxy.set(false);
            proxy.set(true);
        }
        (view.status == "DEPLOYMENT_READY").then_some(())
    })
    .await;
    undisturbed(&env, &id).await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn database_outage__lost_commit_answers_not_repeated() {
    let env = Environment::with_files(tiny()).await;
    let proxy = PostgresProxy::before(&env.db, true).await;
    let database = format!("--database-url={}", proxy.url(&env.db));
    let flags = [database.as_str(), "--lease-ms=3000", "--database-acquire-timeout-ms=1000"];
    let replica = Replica::start(&env, &flags);
    let mut held = Held::install(&env.db).await;
    let id = deploy(&env, "main").await;
    // Twice per step: a step that emits events while it runs would otherwise never finish.
    let mut lost: BTreeMap<String, usize> = BTreeMap::new();
    let deadline = Instant::now() + 3 * WAIT_LIMIT;
    let mut switch = None;
    held.hold().await;
    loop {
        assert!(Instant::now() < deadline, "never completed; lost: {lost:?}");
        // While a commit is held no other is: the row shows its step.
        let is_held = held.holds().await;
        let view = env.db.db.deployment(&id).await.unwrap().unwrap();
        match view.status.as_str() {
            "COMPLETED" => break,
            // In a separate task, because it waits for the row while a commit is held.
            "DEPLOYMENT_READY" if switch.is_none() => {
                let (db, id) = (env.db.db.clone(), id.clone());
                switch = Some(tokio::spawn(async move { db.request_switch(&id).await }));
            }
            status => assert_ne!(status, "FAILED", "{:?}", view.error_message),
        }
        if !is_held {
            tokio::time::sleep(Duration::from_millis(5)).await;
        } else if lost.get(&view.step).is_none_or(|times| *times < 2) {
            *lost.entry(view.step).or_default() += 1;
            proxy.mute();
            held.pass().await;
            proxy.cut();
        } else {
            held.pass().await;
        }
    }
    held.release().await;
    switch.unwrap().await.unwrap().unwrap();
    // One for each step, including the one that waits for the switch.
    assert_eq!(lost.len(), 11, "{lost:?}");
    undisturbed(&env, &id).await;
    let effects = env.sandbox.effects(&env.ecr_repository());
    assert_eq!(effects.continued.values().copied().collect::<Vec<_>>(), [1], "{effects:?}");
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn database_outage__silent_connections_time_out() {
    let env = Environment::start().await;
    let proxy = PostgresProxy::before(&env.db, true).await;
    let database = format!("--database-url={}", proxy.url(&env.db));
    let replica = Replica::start(&env, &[database.as_str(), "--database-acquire-timeout-ms=1000"]);
    let mut held = Held::install(&env.db).await;
    held.hold().await;
    let id = deploy(&env, "main").await;
    wait_for("the deployment is claimed", async || held.holds().await).await;
    // As when a firewall drops connection state: nothing is cut, and no more data arrives.
    proxy.mute();
    held.finish().await;
    status(&env, &id, &["DEPLOYMENT_READY"]).await;
    undisturbed(&env, &id).await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn database_outage__restart_during_commits_only_delays() {
    let dir = temporary_folder().unwrap();
    // A durable server, so that committed data survives the restart.
    let options = PostgresOptions { data_dir: dir.path().join("postgres"), durable: true };
    let mut server = Postgres::start(options.clone()).await.unwrap();
    // Each start has another port; the proxy hides that.
    let proxy = PostgresProxy::to(&format!("127.0.0.1:{}", server.port())).await;
    let mut url: url::Url = server.url().expose_secret().parse().unwrap();
    url.set_port(Some(proxy.address().port())).unwrap();
    let db = TestDb::on(url).await;
    let env = Environment::start().await.with_database(db);
    let replica = Replica::start(&env, &["--lease-ms=3000", "--database-acquire-timeout-ms=1000"]);
    let mut held = Held::install(&env.db).await;
    let id = deploy(&env, "main").await;
    for _ in 0..RESTARTS {
        held.hold().await;
        wait_for("a commit is under way", async || held.holds().await).await;
        let lock = std::fs::read_to_string(options.data_dir.join("cluster/postmaster.pid")).unwrap();
        let pid: i32 = lock.lines().next().unwrap().parse().unwrap();
        // SIGQUIT is an immediate shutdown, as after a power failure.
        kill(Pid::from_raw(pid), Signal::SIGQUIT).unwrap();
        wait_for("the server process has ended", async || !is_alive(pid)).await;
        drop(server);
        server = Postgres::start(options.clone()).await.unwrap();
        proxy.lead_to(format!("127.0.0.1:{}", server.port()));
        held = Held::again(&env.db).await;
        let before = env.db.db.deployment(&id).await.unwrap().unwrap().event_count;
        wait_for("the deployment advances", async || {
            let view = env.db.db.deployment(&id).await.unwrap().unwrap();
            assert_ne!(view.status, "FAILED", "{:?}", view.error_message);
            view.event_count > before
        })
        .await;
    }
    status(&env, &id, &["DEPLOYMENT_READY"]).await;
    undisturbed(&env, &id).await;
    replica.stop().await;
    drop(env);
    server.stop().await.unwrap();
}

async fn owner(env: &Environment, id: &str) -> Option<uuid::Uuid> {
    let mut psql = env.db.psql().await;
    sqlx::query_scalar("SELECT replica_id FROM deployments WHERE id = $1").bind(id).fetch_one(&mut psql).await.unwrap()
}
