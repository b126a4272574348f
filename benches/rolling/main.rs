//! A rolling update as the chart does it, under streams and deployments: `make bench-rolling`.
//!
//! Two replicas (the release program) on a durable Postgres run behind a load balancer of the bench. 200 deployments follow executions of a sandbox
//! in a separate process. 1,000 viewers read streams, half of them of those deployments and half of 20 deployments for which the bench publishes 20
//! events per second. Two deployments and twenty queries per second are sent through the load balancer. Then, as with `maxSurge` 1 and
//! `maxUnavailable` 0: one more replica starts; once it is ready, an old one leaves the load balancer and ends `preStopSeconds` later. An ending pod
//! does not count, so the second new one starts immediately: both old ones end at nearly the same time.
//!
//! The executions change at a steady rate before, during and after the roll: they were started evenly over [`SPREAD`], their histories become visible
//! [`LAG`] later, and they enter their second state after [`ENSURE_INFRA`]. There they stay. The sandbox measures lateness: the gap between two reads
//! of one history, minus the two seconds, over all gaps that ended between the first start and two seconds after the last end.
//!
//! Then the same behind a load balancer that takes 20 s to accept a target and to remove one ([`slow_balancer`]).
//!
//! `PANDA_BENCH_DEPLOYMENTS`, `PANDA_BENCH_VIEWERS` and `PANDA_BENCH_ROLLS` (3; 0 for the second part alone) set the numbers.

mod account;
mod load;
mod slow_balancer;
mod update;
mod viewers;

use std::time::{Duration, Instant};

use panda_benches::figures::{head, line, median, number};
use panda_benches::postgres::Server;
use panda_benches::sandbox::serve_if_asked;
use update::{Sizes, Update, update};

/// Period over which the executions are started.
pub const SPREAD: Duration = Duration::from_secs(30);

/// Delay of their histories: longer than the spread and all preparation.
pub const LAG: Duration = Duration::from_secs(55);

/// Time after which an execution changes for the second time.
pub const ENSURE_INFRA: Duration = Duration::from_secs(20);

/// Time limit for every viewer to reconnect.
pub const BACK: Duration = Duration::from_secs(30);

/// Period of changes before the roll.
pub const BEFORE: Duration = Duration::from_secs(8);

#[tokio::main]
async fn main() {
    serve_if_asked().await;
    let sizes = Sizes {
        deployments: number("PANDA_BENCH_DEPLOYMENTS", 200),
        published: 20,
        viewers: number("PANDA_BENCH_VIEWERS", 1_000),
    };
    let server = Server::start().await;
    let mut rolls: Vec<Update> = Vec::new();
    for _ in 0..number("PANDA_BENCH_ROLLS", 3) {
        rolls.push(update(&server.database().await, &sizes).await);
    }
    let slow = slow_balancer::update(&server.database().await, sizes.viewers).await;
    head();
    if !rolls.is_empty() {
        report(&sizes, &rolls);
    }
    println!("{}", serde_json::json!({"slow_balancer": slow.report()}));
}

fn report(sizes: &Sizes, rolls: &[Update]) {
    let middle = |of: &dyn Fn(&Update) -> f64| median(&rolls.iter().map(of).collect::<Vec<_>>());
    let longest = |of: &dyn Fn(&Update) -> f64| rolls.iter().map(of).fold(0.0, f64::max);
    let sum = |of: &dyn Fn(&Update) -> usize| rolls.iter().map(of).sum::<usize>();
    let took = middle(&|roll| roll.took.as_secs_f64());
    let exit = longest(&|roll| roll.exit.as_secs_f64());
    let back = middle(&|roll| roll.back.as_secs_f64());
    let absence = longest(&|roll| roll.viewers.longest_absence.as_secs_f64());
    let (p50, p99) = (middle(&|roll| roll.late_p50 as f64), middle(&|roll| roll.late_p99 as f64));
    let (worst_p99, still) = (longest(&|roll| roll.late_p99 as f64), longest(&|roll| roll.longest_gap as f64));
    let unowned = longest(&|roll| roll.account.unowned);
    let lost = sum(&|roll| roll.viewers.lost);
    let twice = sum(&|roll| roll.viewers.twice);
    let not_back = sum(&|roll| roll.viewers.not_back);
    let wrong_events = sum(&|roll| roll.account.wrong_events);
    let unexplained: i64 = rolls.iter().map(|roll| roll.account.unexplained).sum();
    let steps_twice = sum(&|roll| roll.account.twice);
    let (delivered, came_back) = (sum(&|roll| roll.viewers.delivered), sum(&|roll| roll.viewers.came_back));
    let handed_over: i64 = rolls.iter().map(|roll| roll.account.handed_over).sum();
    let silent: i64 = rolls.iter().map(|roll| roll.account.lost).sum();
    let requests = sum(&|roll| roll.queries.well + roll.deploys.well);
    let refused = sum(&|roll| roll.queries.badly + roll.deploys.badly);
    let deploys = sum(&|roll| roll.deploys.well);

    line("rolls of two replicas", rolls.len(), "");
    line("deployments followed, viewers", format!("{}, {}", sizes.deployments, sizes.viewers), "");
    line("events delivered; streams that ended and were reopened", format!("{delivered}; {came_back}"), "");
    line("events lost", lost, "0");
    line("events that a viewer saw twice or out of order", twice, "0");
    line("viewers not back", not_back, "0");
    line("requests, two deployments a second among them", requests, "");
    line("  not answered, or not with 200", refused, "0");
    line("deployments handed over; taken from a silent replica", format!("{handed_over}; {silent}"), "");
    line("followed deployments with events twice, missing or moved", wrong_events, "0");
    line("changes of them that no news and no owner explains", unexplained, "0");
    line(&format!("steps and effects done twice, {deploys} deployments"), steps_twice, "0");
    line("lateness of a look during the roll, median of rolls: p50", format!("{p50:.0} ms"), "");
    line("  p99", format!("{p99:.0} ms"), "2000 ms");
    line("  p99, the worst roll", format!("{worst_p99:.0} ms"), "");
    line("  before the roll, p99", format!("{:.0} ms", middle(&|roll| roll.before_p99 as f64)), "");
    line("longest between two looks at one execution, all rolls", format!("{still:.0} ms"), "");
    line("  a deployment without an owner, the longest", format!("{unowned:.3} s"), "");
    line("first start to last end, preStopSeconds in it", format!("{took:.2} s"), "");
    line("SIGTERM to the end of the process, the longest", format!("{exit:.2} s"), "5 s");
    line("last end to all viewers back", format!("{back:.2} s"), "10 s");
    line("  a viewer without a stream, the longest", format!("{absence:.2} s"), "");
    println!(
        "{}",
        serde_json::json!({
            "rolls": rolls.len(), "deployments": sizes.deployments, "viewers": sizes.viewers, "delivered": delivered, "came_back": came_back,
            "lost": lost, "twice": twice, "not_back": not_back, "requests": requests, "refused": refused, "handed_over": handed_over,
            "taken_from_silent": silent, "wrong_events": wrong_events, "unexplained_changes": unexplained, "steps_twice": steps_twice,
            "lateness_p50_ms": p50, "lateness_p99_ms": p99, "lateness_p99_worst_ms": worst_p99, "longest_gap_ms": still, "unowned_s": unowned,
            "took_s": took, "exit_s": exit, "back_s": back, "longest_absence_s": absence,
        })
    );
}

/// Waits until `done`; false when the time limit passes first.
pub async fn until(within: Duration, mut done: impl AsyncFnMut() -> bool) -> bool {
    let deadline = Instant::now() + within;
    while !done().await {
        if Instant::now() > deadline {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    true
}
