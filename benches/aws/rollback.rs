//! Rollbacks at AWS while the same process follows 2,000 executions.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use panda::db::commit::Change;
use panda::domain::{Facts, Status};
use panda_benches::figures::{line, number, percentile};
use panda_benches::postgres::Server;
use panda_benches::process::Panda;
use panda_benches::rows;
use panda_benches::sandbox::{SandboxProcess, following};
use serde_json::json;

pub async fn measure(server: &Server) {
    let followed: usize = number("PANDA_BENCH_DEPLOYMENTS", 2_000);
    let rollbacks: usize = number("PANDA_BENCH_ROLLBACKS", 200);
    let database = server.database().await;
    let sandbox = SandboxProcess::start();
    let executions = sandbox.executions(followed).await;
    let arns = sandbox.waiting_service_deployments(rollbacks).await;
    rows::place(&database.db, followed, |n| following(&executions[n])).await;
    rows::place_in(&database.db, sandbox.user_connection(), rollbacks, |n| Change {
        step: Some(("watch_traffic".to_owned(), json!({"rollout": arns[n]}))),
        status: Some(Status::Completed),
        watched: Some(true),
        facts: Facts {
            service_deployment_arn: Some(arns[n].clone()),
            image_digest: Some(format!("sha256:{n:064x}")),
            ..Facts::default()
        },
        ..Change::default()
    })
    .await;
    database.settle().await;
    let (mut options, variables) = sandbox.for_panda();
    options.push(format!("--max-deployments={}", followed + 100));
    let panda = Panda::start_with(&database.url, &options, &variables).await;
    let mut look = database.look().await;
    let started = Instant::now();
    loop {
        let polled: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM deployments WHERE (facts ->> 'last_history_event_id')::bigint > 0",
        )
        .fetch_one(&mut look)
        .await
        .unwrap();
        if polled == i64::try_from(followed).unwrap() {
            break;
        }
        assert!(started.elapsed() < Duration::from_mins(5), "{polled} of {followed} executions are followed");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let ids: Vec<String> = sqlx::query_scalar("SELECT id FROM deployments WHERE status = 'COMPLETED' ORDER BY id")
        .fetch_all(&mut look)
        .await
        .unwrap();
    let http = reqwest::Client::new();
    let mut requested: Vec<DateTime<Utc>> = Vec::with_capacity(rollbacks);
    for id in &ids {
        requested.push(Utc::now());
        let sent = http.post(format!("{}/api/v1/deploy/{id}/rollback", panda.base));
        let sent = sent.header("content-type", "application/json").body(r#"{"reason": "bench"}"#).send().await.unwrap();
        let status = sent.status();
        assert!(status.is_success(), "{status}: {}", sent.text().await.unwrap());
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    let mut took = Vec::with_capacity(rollbacks);
    for (id, requested) in ids.iter().zip(requested) {
        // The record of AWS's answer comes after the call, so that the call was earlier.
        let recorded: Option<DateTime<Utc>> = sqlx::query_scalar(
            "SELECT min(created_at) FROM deployment_events WHERE deployment_id = $1 AND code IN ('rollback_returning', 'rollback_completed')",
        )
        .bind(id)
        .fetch_one(&mut look)
        .await
        .unwrap();
        let recorded = recorded.unwrap_or_else(|| panic!("the rollback of {id} was not called"));
        took.push((recorded - requested).as_seconds_f64());
    }
    let (median, p99) = (percentile(&took, 0.5), percentile(&took, 0.99));
    line(
        &format!("rollback beside {followed}: request to AWS's answer, 99th percentile"),
        format!("{p99:.3} s"),
        "1 s",
    );
    println!(
        "{}",
        json!({"name": "rollback", "followed": followed, "rollbacks": rollbacks, "median_s": median, "p99_s": p99})
    );
}
