//! The rolling update behind a load balancer that takes [`SLOW`] to accept a target, and as long to remove one, as those of clouds do. The settings are
//! those of the chart's tested values for EKS: a new replica counts as available after `minReadySeconds`, and an ending one serves `preStopSeconds`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use panda_benches::figures::line;
use panda_benches::postgres::Database;
use panda_benches::process::Panda;
use panda_benches::rows;
use panda_benches::sandbox::SandboxProcess;
use panda_testing::proxy::FaultProxy;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::load::{Answers, Load};
use crate::update::{REPLICAS, another, seconds_of};
use crate::viewers::{Outcome, Viewers};
use crate::{BACK, BEFORE};

/// Time until the load balancer sends requests to a new target, or no more to a removed one.
const SLOW: Duration = Duration::from_secs(20);

/// Tested values of the chart for EKS.
const VALUES: &str = include_str!("../../tests/it/chart/clusters/eks-pod-identity.yaml");

/// Interval between two requests for a result, each sent on a kept connection and on a new one.
const QUERY_INTERVAL: Duration = Duration::from_millis(25);

/// Deployments whose events the bench publishes.
const PUBLISHED: usize = 20;

/// Results of the update.
pub struct SlowUpdate {
    took: Duration,
    viewers: Outcome,
    queries: Answers,
    deploys: Answers,
}

/// Prepares, rolls and takes the account.
pub async fn update(database: &Database, viewers: usize) -> SlowUpdate {
    let sandbox = SandboxProcess::start();
    let mut look = database.look().await;
    let own = rows::own(&database.db, "published", PUBLISHED).await;
    let balancer = Arc::new(FaultProxy::balancer().await);
    let mut old = Vec::new();
    for _ in 0..REPLICAS {
        let replica = another(database, &sandbox, &balancer).await;
        balancer.add(replica.address());
        old.push(replica);
    }
    let published: Vec<String> = own.1.iter().map(|row| row.id.clone()).collect();
    let viewers = Viewers::open(balancer.address(), published.into_iter().cycle().take(viewers)).await;
    let load = Load::start(&database.db, own, &sandbox, balancer.address(), QUERY_INTERVAL).await;
    sleep(BEFORE).await;
    let begun = Instant::now();
    let new = roll(old, database, &sandbox, &balancer).await;
    let took = begun.elapsed();
    viewers.all_open(BACK).await;
    let (_, queries, deploys) = load.stop().await;
    let viewers = viewers.outcome(&mut look).await;
    drop(new);
    SlowUpdate { took, viewers, queries, deploys }
}

/// Replaces the replicas as a Deployment with `maxSurge` 1 and `maxUnavailable` 0 does. Returns the new ones.
async fn roll(
    old: Vec<Panda>,
    database: &Database,
    sandbox: &SandboxProcess,
    balancer: &Arc<FaultProxy>,
) -> Vec<Panda> {
    let (mut new, mut leaving) = (Vec::new(), JoinSet::new());
    for mut replica in old {
        let next = another(database, sandbox, balancer).await;
        let (address, accepting) = (next.address(), Arc::clone(balancer));
        tokio::spawn(async move {
            sleep(SLOW).await;
            accepting.add(address);
        });
        new.push(next);
        sleep(seconds_of(VALUES, "minReadySeconds")).await;
        let (address, removing) = (replica.address(), Arc::clone(balancer));
        tokio::spawn(async move {
            sleep(SLOW).await;
            removing.remove(address);
        });
        leaving.spawn(async move {
            sleep(seconds_of(VALUES, "preStopSeconds")).await;
            replica.terminate().await
        });
    }
    leaving.join_all().await;
    new
}

impl SlowUpdate {
    /// Prints the figures, and returns them for the line of JSON.
    pub fn report(&self) -> serde_json::Value {
        let requests = self.queries.well + self.deploys.well;
        let refused = self.queries.badly + self.deploys.badly;
        let Outcome { delivered, lost, twice, not_back, .. } = self.viewers;
        line("behind a load balancer that needs 20 s for a target: requests", requests, "5000");
        line("  not answered, or not with 200", refused, "0");
        line("  events delivered", delivered, "");
        line("  events lost", lost, "0");
        line("  events that a viewer saw twice or out of order", twice, "0");
        line("  viewers not back", not_back, "0");
        line("  first start to last end", format!("{:.2} s", self.took.as_secs_f64()), "");
        serde_json::json!({
            "requests": requests, "refused": refused, "delivered": delivered, "lost": lost, "twice": twice, "not_back": not_back,
            "took_s": self.took.as_secs_f64(),
        })
    }
}
