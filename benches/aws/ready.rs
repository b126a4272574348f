//! Ten thousand deployments that await their switch, in one account.

use std::time::Instant;

use panda::db::commit::Change;
use panda::domain::{Facts, Status};
use panda_benches::figures::{line, number, seconds};
use panda_benches::postgres::{Server, statistics_arrived, transactions};
use panda_benches::process::Panda;
use panda_benches::rows;
use panda_benches::sandbox::SandboxProcess;
use panda_sandbox::{Faults, aws_quotas};
use serde_json::json;

pub async fn measure(server: &Server) {
    let watched = seconds("PANDA_BENCH_SECONDS", 240);
    let waiting: usize = number("PANDA_BENCH_WAITING", 10_000);
    let database = server.database().await;
    let sandbox = SandboxProcess::start();
    let ids = sandbox.waiting_deployments(waiting).await;
    sandbox.faults(&Faults { quotas: aws_quotas(), ..Faults::default() }).await;
    let until = chrono::Utc::now() + chrono::TimeDelta::hours(1);
    rows::place_in(&database.db, sandbox.user_connection(), waiting, |n| Change {
        step: Some(("await_switch".to_owned(), json!({"code_deploy_deployment_id": ids[n]}))),
        status: Some(Status::DeploymentReady),
        waiting_for: Some("approval of the switch".into()),
        watched: Some(true),
        facts: Facts { code_deploy_deployment_id: Some(ids[n].clone()), ready_until: Some(until), ..Facts::default() },
        ..Change::default()
    })
    .await;
    database.settle().await;
    let (options, variables) = sandbox.with_quotas();
    let panda = Panda::start_with(&database.url, &options, &variables).await;
    let mut look = database.look().await;
    statistics_arrived().await;
    let calls = async || {
        let all = sandbox.effects().await.calls;
        let of_user = all.into_iter().filter(|(call, _)| call.starts_with("codedeploy:"));
        of_user.fold((0, 0), |sum, (_, count)| (sum.0 + count.received, sum.1 + count.throttled))
    };
    let (before, cpu, statements) = (calls().await, panda.cpu_seconds(), transactions(&mut look).await);
    let window = Instant::now();
    tokio::time::sleep(watched).await;
    let seconds = window.elapsed().as_secs_f64();
    let (after, cores) = (calls().await, (panda.cpu_seconds() - cpu) / seconds);
    let statements = (transactions(&mut look).await - statements) as f64 / seconds;
    let (received, throttled) = (f64::from(after.0 - before.0) / seconds, after.1 - before.1);
    assert!(received > 0.0, "Panda watched nothing");
    line(&format!("{waiting} await their switch: Panda"), format!("{cores:.3} cores"), "0.05 cores");
    line(&format!("{waiting} await their switch: calls to CodeDeploy"), format!("{received:.1}/s"), "");
    line(&format!("{waiting} await their switch: throttled calls"), throttled, "0");
    line(&format!("{waiting} await their switch: statements"), format!("{statements:.1}/s"), "");
    println!(
        "{}",
        json!({
            "name": "ready", "waiting": waiting, "watched_s": seconds, "cores": cores, "calls_per_second": received,
            "throttled": throttled, "statements_per_second": statements,
        })
    );
}
