//! Measures how Panda polls AWS within its quotas: `make bench-aws`.
//!
//! The release program follows executions of a sandbox in a separate process.
//!
//! - **One deployment** of 30 minutes and 200 events (`one`): the number of calls, and the time from an event's appearance to Panda's record of it. Sped up
//!   20 times by the polling interval (100 ms instead of 2 s), on which every wait of the poll depends; times are multiplied again.
//! - **1,000 deployments** of two replicas against AWS's bucket of 400 calls, refilled at 20 per second (`many`), in real time: throttled calls, failed
//!   deployments, and the longest time between two polls of one. `PANDA_BENCH_SECONDS` is the time of observation (240), `PANDA_BENCH_DEPLOYMENTS` their
//!   number.
//!
//! - **10,000 deployments that await their switch** in one account (`ready`), in real time: Panda's processor time and its calls to CodeDeploy.
//!
//! - **1,000 rollouts of ECS that await their switch** (`native`): calls of DescribeServiceDeployments, and the time from a stop at AWS to Panda's record of
//!   it, with status events on a queue (moto's). `PANDA_BENCH_QUEUE=false` measures polling alone.
//! - **Rollbacks beside 2,000 followed executions** (`rollback`): from the request to the record of AWS's answer.
//!
//! `PANDA_BENCH_ONLY` names one of the five.

mod many;
mod native;
mod one;
mod ready;
mod rollback;

use panda_benches::figures::head;
use panda_benches::postgres::Server;
use panda_benches::sandbox::serve_if_asked;

#[tokio::main]
async fn main() {
    serve_if_asked().await;
    let only = std::env::var("PANDA_BENCH_ONLY").ok();
    let chosen = |name: &str| only.as_deref().is_none_or(|only| only == name);
    let server = Server::start().await;
    head();
    if chosen("one") {
        one::measure(&server).await;
    }
    if chosen("many") {
        many::measure(&server).await;
    }
    if chosen("ready") {
        ready::measure(&server).await;
    }
    if chosen("native") {
        native::measure(&server).await;
    }
    if chosen("rollback") {
        rollback::measure(&server).await;
    }
}
