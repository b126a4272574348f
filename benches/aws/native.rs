//! A thousand rollouts of ECS that await their switch, some of which are stopped at AWS.

use std::time::{Duration, Instant};

use panda::db::commit::Change;
use panda::domain::{Facts, Status};
use panda_benches::figures::{line, number, percentile, seconds};
use panda_benches::postgres::Server;
use panda_benches::process::Panda;
use panda_benches::rows;
use panda_benches::sandbox::SandboxProcess;
use panda_testing::moto::server::Moto;
use serde_json::{Value, json};

const DESCRIBE: &str = "ecs:DescribeServiceDeployments";

/// Moto's queue, by SQS's JSON protocol. Moto verifies no signatures.
struct Queue {
    _moto: Moto,
    http: reqwest::Client,
    endpoint: String,
    url: String,
}

impl Queue {
    async fn create(region: &str) -> Self {
        let moto = Moto::start().await;
        let endpoint = moto.url().to_string();
        let mut queue = Self { _moto: moto, http: reqwest::Client::new(), endpoint, url: String::new() };
        let created = queue.call(region, "CreateQueue", &json!({"QueueName": "status"})).await;
        created["QueueUrl"].as_str().unwrap().clone_into(&mut queue.url);
        queue
    }

    async fn call(&self, region: &str, call: &str, body: &Value) -> Value {
        let scope = format!(
            "AWS4-HMAC-SHA256 Credential=AKIA/20260101/{region}/sqs/aws4_request, SignedHeaders=host, Signature=0"
        );
        let request = self.http.post(&self.endpoint).header("authorization", scope);
        let request = request.header("x-amz-target", format!("AmazonSQS.{call}"));
        let request = request.header("content-type", "application/x-amz-json-1.0").body(body.to_string());
        let answer = request.send().await.unwrap().error_for_status().unwrap().text().await.unwrap();
        serde_json::from_str(&answer).unwrap()
    }

    /// Puts the event with which ECS reports a state of the service deployment `arn`.
    async fn put(&self, arn: &str) {
        let (place, names) = arn.split_once(":service-deployment/").unwrap();
        let [cluster, service, id] = names.split('/').collect::<Vec<_>>()[..] else { panic!("{arn}") };
        let (region, account) = (place.split(':').nth(3).unwrap(), place.split(':').nth(4).unwrap());
        let event = json!({
            "version": "0", "id": uuid::Uuid::new_v4(), "detail-type": "ECS Deployment State Change", "source": "aws.ecs", "account": account,
            "time": chrono::Utc::now(), "region": region, "resources": [format!("{place}:service/{cluster}/{service}")],
            "detail": {"eventType": "ERROR", "eventName": "SERVICE_DEPLOYMENT_FAILED", "deploymentId": id},
        });
        self.call(region, "SendMessage", &json!({"QueueUrl": self.url, "MessageBody": event.to_string()})).await;
    }
}

pub async fn measure(server: &Server) {
    let watched = seconds("PANDA_BENCH_SECONDS", 240);
    let waiting: usize = number("PANDA_BENCH_WAITING", 1_000);
    let changes: usize = number("PANDA_BENCH_CHANGES", 40);
    let with_queue: bool = number("PANDA_BENCH_QUEUE", true);
    let database = server.database().await;
    let sandbox = SandboxProcess::start();
    let arns = sandbox.waiting_service_deployments(waiting).await;
    rows::place_in(&database.db, sandbox.user_connection(), waiting, |n| Change {
        step: Some(("await_switch".to_owned(), json!({"rollout": arns[n]}))),
        status: Some(Status::DeploymentReady),
        waiting_for: Some("approval of the switch".into()),
        watched: Some(true),
        facts: Facts { service_deployment_arn: Some(arns[n].clone()), ..Facts::default() },
        ..Change::default()
    })
    .await;
    database.settle().await;
    let (mut options, variables) = sandbox.with_quotas();
    let queue = if with_queue { Some(Queue::create(&sandbox.user_connection().region).await) } else { None };
    options.extend(queue.iter().map(|queue| format!("--status-queue-url={}", queue.url)));
    let _panda = Panda::start_with(&database.url, &options, &variables).await;
    let mut look = database.look().await;
    // The first look at each learns its pause.
    let started = Instant::now();
    loop {
        let known: i64 =
            sqlx::query_scalar("SELECT count(*) FROM deployments WHERE facts ? 'ready_until' AND NOT active")
                .fetch_one(&mut look)
                .await
                .unwrap();
        if known == i64::try_from(waiting).unwrap() {
            break;
        }
        assert!(started.elapsed() < Duration::from_mins(10), "{known} of {waiting} pauses are known");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let calls = async || sandbox.effects().await.calls.get(DESCRIBE).copied().unwrap_or_default().received;
    let (before, window) = (calls().await, Instant::now());
    let mut seen = Vec::with_capacity(changes);
    for (n, arn) in arns.iter().enumerate().take(changes) {
        sandbox.stop_in_console(n).await;
        let stopped = Instant::now();
        if let Some(queue) = &queue {
            queue.put(arn).await;
        }
        while !failed(&mut look, arn).await {
            assert!(stopped.elapsed() < Duration::from_mins(5), "{arn} is not seen");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        seen.push(stopped.elapsed().as_secs_f64());
        let next = watched.mul_f64((n + 1) as f64 / changes as f64);
        tokio::time::sleep(next.saturating_sub(window.elapsed())).await;
    }
    let minutes = window.elapsed().as_secs_f64() / 60.0;
    let a_minute = f64::from(calls().await - before) / minutes;
    let (median, p95) = (percentile(&seen, 0.5), percentile(&seen, 0.95));
    let of = if with_queue { "with status events" } else { "by polling alone" };
    line(&format!("{waiting} rollouts of ECS, {of}: Describe calls"), format!("{a_minute:.1}/min"), "60/min");
    line(&format!("{waiting} rollouts of ECS, {of}: detection, 95th percentile"), format!("{p95:.2} s"), "5 s");
    println!(
        "{}",
        json!({
            "name": "native", "waiting": waiting, "queue": with_queue, "changes": changes, "watched_s": minutes * 60.0,
            "describe_calls_per_minute": a_minute, "detection_median_s": median, "detection_p95_s": p95,
        })
    );
}

async fn failed(look: &mut sqlx::PgConnection, arn: &str) -> bool {
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM deployments WHERE status = 'FAILED' AND facts ->> 'service_deployment_arn' = $1)",
    )
    .bind(arn)
    .fetch_one(look)
    .await
    .unwrap()
}
