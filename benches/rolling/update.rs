//! One rolling update from preparation to account.

use std::collections::BTreeMap;
use std::time::Duration;

use panda_sandbox::{ExecutionFault, Faults, Lag, Outcome as ExecutionOutcome, Visibility};
use panda_testing::proxy::FaultProxy;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::account::{self, Account};
use crate::load::{Answers, Load};
use crate::viewers::{Outcome, Viewers};
use crate::{BACK, BEFORE, ENSURE_INFRA, LAG, SPREAD};
use panda_benches::postgres::Database;
use panda_benches::process::Panda;
use panda_benches::rows;
use panda_benches::sandbox::{SandboxProcess, following, lateness};

pub const REPLICAS: usize = 2;

/// Interval between two requests for a result, each sent on a kept connection and on a new one.
const QUERY_INTERVAL: Duration = Duration::from_millis(100);

/// Defaults of the chart.
const CHART: &str = include_str!("../../helm/panda/values.yaml");

/// Numbers of deployments and viewers.
pub struct Sizes {
    /// Deployments that follow executions.
    pub deployments: usize,
    /// Deployments whose events the bench publishes.
    pub published: usize,
    pub viewers: usize,
}

/// Results of one rolling update.
pub struct Update {
    /// Time from the first new replica's start to the last old one's end.
    pub took: Duration,
    /// Longer time of the two from SIGTERM to the end of the process.
    pub exit: Duration,
    /// Time from the last end until every viewer has a stream again.
    pub back: Duration,
    /// Lateness before the roll in milliseconds.
    pub before_p99: u64,
    pub late_p50: u64,
    pub late_p99: u64,
    /// Longest time between two reads of one history, in milliseconds.
    pub longest_gap: u64,
    pub account: Account,
    pub viewers: Outcome,
    pub queries: Answers,
    pub deploys: Answers,
}

/// Prepares, rolls and takes the account.
pub async fn update(database: &Database, sizes: &Sizes) -> Update {
    let db = &database.db;
    let sandbox = SandboxProcess::start_with(ENSURE_INFRA);
    sandbox.faults(&they_stay_in_their_second_state()).await;
    let begun = Instant::now();
    let arns = sandbox.executions_over(sizes.deployments, SPREAD).await;
    rows::place(db, sizes.deployments, |n| following(&arns[n])).await;
    let mut look = database.look().await;
    account::watch(&mut look).await;
    let followed: Vec<String> = sqlx::query_scalar("SELECT id FROM deployments").fetch_all(&mut look).await.unwrap();
    let own = rows::own(db, "published", sizes.published).await;
    database.settle().await;

    let balancer = FaultProxy::balancer().await;
    let mut old = Vec::new();
    for _ in 0..REPLICAS {
        let replica = another(database, &sandbox, &balancer).await;
        balancer.add(replica.address());
        old.push(replica);
    }
    let published = own.1.iter().map(|row| row.id.clone()).cycle().take(sizes.viewers / 2);
    let followed = followed.into_iter().cycle().take(sizes.viewers - sizes.viewers / 2);
    let viewers = Viewers::open(balancer.address(), published.chain(followed)).await;
    let load = Load::start(db, own, &sandbox, balancer.address(), QUERY_INTERVAL).await;
    assert!(begun.elapsed() < LAG, "the preparation took {:?}: the news has begun already", begun.elapsed());

    sleep_until(begun + LAG).await;
    sandbox.forget_gaps().await;
    sleep_until(begun + LAG + BEFORE).await;
    let before = sandbox.gaps().await;
    sandbox.forget_gaps().await;
    let rolled = roll(old, database, &sandbox, &balancer).await;
    let ended = Instant::now();
    assert!(begun.elapsed() < LAG + SPREAD + ENSURE_INFRA, "the roll outlasted the news: {:?}", rolled.took);
    // A viewer that has not reconnected by then is counted below.
    viewers.all_open(BACK).await;
    let back = ended.elapsed();
    // Gaps that were open at the end have ended by then.
    sleep_until(ended + Duration::from_millis(2_500)).await;
    let gaps = sandbox.gaps().await;

    sleep_until(begun + LAG + SPREAD + ENSURE_INFRA + Duration::from_secs(1)).await;
    let (_, queries, deploys) = load.stop().await;
    let account = account::settle(&mut look, &sandbox, arns.last().unwrap(), sizes.deployments).await;
    let viewers = viewers.outcome(&mut look).await;
    drop(rolled.new);
    Update {
        took: rolled.took,
        exit: rolled.exit,
        back,
        before_p99: lateness(&before, 0.99),
        late_p50: lateness(&gaps, 0.5),
        late_p99: lateness(&gaps, 0.99),
        longest_gap: gaps.keys().last().copied().unwrap_or_default(),
        account,
        viewers,
        queries,
        deploys,
    }
}

struct Rolled {
    took: Duration,
    exit: Duration,
    /// The replicas that remain.
    new: Vec<Panda>,
}

async fn roll(old: Vec<Panda>, database: &Database, sandbox: &SandboxProcess, balancer: &FaultProxy) -> Rolled {
    let begun = Instant::now();
    let (mut new, mut leaving) = (Vec::new(), JoinSet::new());
    for mut replica in old {
        let next = another(database, sandbox, balancer).await;
        balancer.add(next.address());
        new.push(next);
        balancer.remove(replica.address());
        leaving.spawn(async move {
            sleep(seconds_of(CHART, "preStopSeconds")).await;
            replica.terminate().await
        });
    }
    let exits = leaving.join_all().await;
    Rolled { took: begun.elapsed(), exit: exits.into_iter().max().unwrap(), new }
}

/// Starts one more replica, and returns it once it is ready.
pub async fn another(database: &Database, sandbox: &SandboxProcess, balancer: &FaultProxy) -> Panda {
    let (mut options, variables) = sandbox.for_panda();
    // All viewers come from one address; and no repository exists at the load balancer's address.
    options.push("--max-streams-per-client=100000".to_owned());
    options.push(format!("--github-url=http://{}", balancer.address()));
    Panda::start_with(&database.url, &options, &variables).await
}

fn they_stay_in_their_second_state() -> Faults {
    let stuck = ExecutionFault { state: "RegisterTaskAndDeploy".to_owned(), outcome: ExecutionOutcome::Stuck };
    Faults {
        visibility: Visibility { history: Lag::of(LAG), ..Visibility::default() },
        executions: BTreeMap::from([("*".to_owned(), stuck)]),
        ..Faults::default()
    }
}

/// Returns a duration of the chart's values: `preStopSeconds`, for which a replica keeps serving, or `minReadySeconds`, after which a new one counts.
pub fn seconds_of(values: &str, name: &str) -> Duration {
    let value = values.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(':')).unwrap();
    Duration::from_secs(value.trim().parse().unwrap())
}
