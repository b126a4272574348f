//! One roll from its preparation to its account.

use std::collections::BTreeMap;
use std::time::Duration;

use panda::sandbox::{ExecutionFault, Faults, Outcome as ExecutionOutcome};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::account::{self, Account};
use crate::balancer::Balancer;
use crate::load::{Answers, Load};
use crate::support::postgres::Database;
use crate::support::process::Panda;
use crate::support::rows;
use crate::support::sandbox::{SandboxProcess, following, lateness};
use crate::viewers::{Outcome, Viewers};
use crate::{BEFORE, ENSURE_INFRA, LAG, SPREAD};

const REPLICAS: usize = 2;

/// As the chart has them.
const CHART: &str = include_str!("../../helm/panda/values.yaml");

/// In which every viewer has to be back.
const BACK: Duration = Duration::from_secs(30);

/// How many of each there are.
pub struct Sizes {
    /// That follow executions.
    pub deployments: usize,
    /// That the bench tells events of.
    pub told: usize,
    pub viewers: usize,
}

/// What one roll showed.
pub struct Update {
    /// From the first new replica's start to the last old one's end.
    pub took: Duration,
    /// From SIGTERM to the end of the process, the longer one.
    pub exit: Duration,
    /// From the last end until every viewer has a stream again.
    pub back: Duration,
    /// In milliseconds.
    pub before_p99: u64,
    pub late_p50: u64,
    pub late_p99: u64,
    /// Between two readings of one history.
    pub longest_gap: u64,
    pub account: Account,
    pub viewers: Outcome,
    pub questions: Answers,
    pub deploys: Answers,
}

/// Prepares, rolls and looks.
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
    let own = rows::own(db, "told", sizes.told).await;
    database.settle().await;

    let balancer = Balancer::start().await;
    let mut old = Vec::new();
    for _ in 0..REPLICAS {
        old.push(another(database, &sandbox, &balancer).await);
    }
    let told = own.1.iter().map(|row| row.id.clone()).cycle().take(sizes.viewers / 2);
    let followed = followed.into_iter().cycle().take(sizes.viewers - sizes.viewers / 2);
    let viewers = Viewers::open(balancer.address, told.chain(followed)).await;
    let load = Load::start(db, own, &sandbox, balancer.address).await;
    assert!(begun.elapsed() < LAG, "the preparation took {:?}: the news has begun already", begun.elapsed());

    sleep_until(begun + LAG).await;
    sandbox.forget_gaps().await;
    sleep_until(begun + LAG + BEFORE).await;
    let before = sandbox.gaps().await;
    sandbox.forget_gaps().await;
    let rolled = roll(old, database, &sandbox, &balancer).await;
    let ended = Instant::now();
    assert!(begun.elapsed() < LAG + SPREAD + ENSURE_INFRA, "the roll outlasted the news: {:?}", rolled.took);
    // A viewer that is not back by then is counted below.
    viewers.all_open(BACK).await;
    let back = ended.elapsed();
    // The gaps that were open at the end have ended by then.
    sleep_until(ended + Duration::from_millis(2_500)).await;
    let gaps = sandbox.gaps().await;

    sleep_until(begun + LAG + SPREAD + ENSURE_INFRA + Duration::from_secs(1)).await;
    let (_, questions, deploys) = load.stop().await;
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
        questions,
        deploys,
    }
}

struct Rolled {
    took: Duration,
    exit: Duration,
    /// The replicas that go on.
    new: Vec<Panda>,
}

/// The update itself.
async fn roll(old: Vec<Panda>, database: &Database, sandbox: &SandboxProcess, balancer: &Balancer) -> Rolled {
    let begun = Instant::now();
    let (mut new, mut leaving) = (Vec::new(), JoinSet::new());
    for mut replica in old {
        new.push(another(database, sandbox, balancer).await);
        balancer.remove(replica.address());
        leaving.spawn(async move {
            sleep(pre_stop()).await;
            replica.terminate().await
        });
    }
    let exits = leaving.join_all().await;
    Rolled { took: begun.elapsed(), exit: exits.into_iter().max().unwrap(), new }
}

/// One replica more, which is in the load balancer once it is ready.
async fn another(database: &Database, sandbox: &SandboxProcess, balancer: &Balancer) -> Panda {
    let (mut options, variables) = sandbox.for_panda();
    // All viewers come from one address; and no repository is where the load balancer is.
    options.push("--max-streams-per-client=100000".to_owned());
    options.push(format!("--github-url=http://{}", balancer.address));
    let panda = Panda::start_with(&database.url, &options, &variables).await;
    balancer.add(panda.address());
    panda
}

fn they_stay_in_their_second_state() -> Faults {
    let stuck = ExecutionFault { state: "RegisterTaskAndDeploy".to_owned(), outcome: ExecutionOutcome::Stuck };
    Faults {
        history_lag_ms: u64::try_from(LAG.as_millis()).unwrap(),
        executions: BTreeMap::from([("*".to_owned(), stuck)]),
        ..Faults::default()
    }
}

/// How long a replica goes on serving once it has left the load balancer.
fn pre_stop() -> Duration {
    let value = CHART.lines().find_map(|line| line.trim().strip_prefix("preStopSeconds:")).unwrap();
    Duration::from_secs(value.trim().parse().unwrap())
}
