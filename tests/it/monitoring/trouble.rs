//! A database that is away.

use crate::support::gate::Gate;
use crate::support::process::Serve;
use crate::support::wait_for;
use crate::support::world::{World, tiny};

/// The value of one series.
async fn value(replica: &Serve, series: &str) -> u64 {
    let text = reqwest::get(format!("{}/metrics", replica.url)).await.unwrap().text().await.unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("there is no {series}")).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_away_is_seen_at_once_and_counts_as_one_loss_of_each_listener() {
    const TROUBLE: &str = "panda_database_trouble";
    const LISTENERS: [&str; 2] =
        ["panda_listener_reconnects_total{listener=\"events\"}", "panda_listener_reconnects_total{listener=\"work\"}"];
    let world = World::with_files(tiny()).await;
    let gate = Gate::before(&world.db, true).await;
    let database = format!("--database-url={}", gate.url(&world.db));
    let replica = Serve::start(&world, &[&database, "--lease-ms=1500", "--database-acquire-timeout-ms=500"], &[]);
    replica.ready().await;
    wait_for("both listen", async || gate.listeners() == 2).await;
    assert_eq!(value(&replica, TROUBLE).await, 0);
    gate.set(false);
    wait_for("a heartbeat fails", async || value(&replica, TROUBLE).await == 1).await;
    // Tries to listen that fail are none that broke off. Each says so once.
    let shut = gate.came();
    wait_for("both tried to listen again, and again", async || {
        let log = replica.log();
        let said = ["cannot listen for events", "the work listener ended"].iter().all(|words| log.contains(words));
        said && gate.came() >= shut + 20
    })
    .await;
    gate.set(true);
    wait_for("it is well again", async || value(&replica, TROUBLE).await == 0).await;
    wait_for("both listen again", async || gate.listeners() >= 4).await;
    for listener in LISTENERS {
        assert_eq!(value(&replica, listener).await, 1, "{listener}");
    }
}
