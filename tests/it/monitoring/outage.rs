//! Metrics during a database outage.

use crate::support::environment::{Environment, tiny};
use crate::support::postgres_proxy::PostgresProxy;
use crate::support::process::Serve;
use crate::support::wait_for;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics__database_outage_counts_one_loss_per_listener() {
    const TROUBLE: &str = "panda_database_trouble";
    const LISTENERS: [&str; 2] =
        ["panda_listener_reconnects_total{listener=\"events\"}", "panda_listener_reconnects_total{listener=\"work\"}"];
    let env = Environment::with_files(tiny()).await;
    let proxy = PostgresProxy::before(&env.db, true).await;
    let database = format!("--database-url={}", proxy.url(&env.db));
    let replica = Serve::start(&env, &[&database, "--lease-ms=1500", "--database-acquire-timeout-ms=500"], &[]);
    replica.ready().await;
    wait_for("both listeners are connected", async || proxy.listeners() == 2).await;
    assert_eq!(replica.metric(TROUBLE).await, 0);
    proxy.set(false);
    wait_for("a heartbeat fails", async || replica.metric(TROUBLE).await == 1).await;
    // Failed attempts to listen do not count as losses. Each is logged once.
    let shut = proxy.connections();
    wait_for("both listeners retry", async || {
        let log = replica.log();
        let said = ["event listener cannot connect", "work listener ended"].iter().all(|words| log.contains(words));
        said && proxy.connections() >= shut + 20
    })
    .await;
    proxy.set(true);
    wait_for("the proxy has recovered", async || replica.metric(TROUBLE).await == 0).await;
    wait_for("both listeners are connected again", async || proxy.listeners() >= 4).await;
    for listener in LISTENERS {
        assert_eq!(replica.metric(listener).await, 1, "{listener}");
    }
}
