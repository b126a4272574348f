//! Ten thousand deployments that await their switch, in one account.

use panda::db::commit::Change;
use panda::domain::Status;
use panda_benches::figures::{line, seconds};
use panda_benches::postgres::{Server, statistics_arrived};
use panda_benches::process::Panda;
use panda_benches::rows;
use panda_benches::sandbox::SandboxProcess;
use panda_sandbox::{Faults, aws_quotas};
use serde_json::json;

const WAITING: usize = 10_000;

pub async fn measure(server: &Server) {
    let watched = seconds("PANDA_BENCH_SECONDS", 240);
    let database = server.database().await;
    let sandbox = SandboxProcess::start();
    sandbox.faults(&Faults { quotas: aws_quotas(), ..Faults::default() }).await;
    rows::place_in(&database.db, sandbox.user_connection(), WAITING, |n| Change {
        step: Some(("await_switch".to_owned(), json!({"code_deploy_deployment_id": format!("d-{n}")}))),
        status: Some(Status::DeploymentReady),
        waiting_for: Some("approval of the switch".to_owned()),
        ..Change::default()
    })
    .await;
    database.settle().await;
    let (options, variables) = sandbox.with_quotas();
    let panda = Panda::start_with(&database.url, &options, &variables).await;
    statistics_arrived().await;
    let calls = async || {
        let all = sandbox.effects().await.calls;
        let of_user = all.into_iter().filter(|(call, _)| call.starts_with("codedeploy:"));
        of_user.fold((0, 0), |sum, (_, count)| (sum.0 + count.received, sum.1 + count.throttled))
    };
    let (before, cpu) = (calls().await, panda.cpu_seconds());
    tokio::time::sleep(watched).await;
    let (after, seconds) = (calls().await, watched.as_secs_f64());
    let cores = (panda.cpu_seconds() - cpu) / seconds;
    let (received, throttled) = (f64::from(after.0 - before.0) / seconds, after.1 - before.1);
    line("10,000 await their switch: Panda", format!("{cores:.3} cores"), "0.05 cores");
    line("10,000 await their switch: calls to CodeDeploy", format!("{received:.1}/s"), "");
    line("10,000 await their switch: throttled calls", throttled, "0");
    println!(
        "{}",
        json!({"name": "ready", "watched_s": seconds, "cores": cores, "calls_per_second": received, "throttled": throttled})
    );
}
