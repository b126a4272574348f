//! Status events on an SQS queue cause early polls. The queue is moto's, over the wire of the real SDK.

use std::time::{Duration, Instant};

use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_sqs::types::QueueAttributeName;
use panda_sandbox::{ConsoleAct, ExecutionFault, Faults, Outcome, RolloutStyle};
use panda_testing::moto::server::Moto;
use serde_json::{Value, json};

use super::rollouts::{ready, with_style};
use super::{Replica, deploy, status};
use crate::support::environment::{Environment, tiny};
use crate::support::wait_for;

const HISTORY: &str = "states:GetExecutionHistory";

/// A queue of moto, as EventBridge and an operator use it.
struct Queue {
    client: aws_sdk_sqs::Client,
    url: String,
    _moto: Moto,
}

impl Queue {
    async fn create(region: &str) -> Self {
        let moto = Moto::start().await;
        let config = aws_sdk_sqs::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(moto.url().as_str().trim_end_matches('/'))
            .region(Region::new(region.to_owned()))
            .credentials_provider(Credentials::new("AKIATEST", "secret", None, None, "test"))
            .build();
        let client = aws_sdk_sqs::Client::from_conf(config);
        let url = client.create_queue().queue_name("status").send().await.unwrap().queue_url.unwrap();
        Self { client, url, _moto: moto }
    }

    async fn put(&self, message: &str) {
        self.client.send_message().queue_url(&self.url).message_body(message).send().await.unwrap();
    }

    /// Waits until every message was received and deleted.
    async fn emptied(&self) {
        let attributes = [
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
        ];
        wait_for("the queue is empty", async || {
            let request = self.client.get_queue_attributes().queue_url(&self.url);
            let answer = request.set_attribute_names(Some(attributes.to_vec())).send().await.unwrap();
            answer.attributes.unwrap_or_default().values().all(|count| count == "0")
        })
        .await;
    }
}

fn event(source: &str, account: &str, detail: &Value) -> String {
    json!({
        "version": "0", "id": uuid::Uuid::new_v4(), "detail-type": "Status Change", "source": source, "account": account,
        "time": "2026-01-01T00:00:00Z", "region": "ap-northeast-2", "resources": [], "detail": detail,
    })
    .to_string()
}

fn polls(env: &Environment) -> u32 {
    env.sandbox.all_effects().calls.get(HISTORY).copied().unwrap_or_default().received
}

/// The replica that receives the message may not be the one that drives the deployment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_queue__message_causes_early_poll() {
    let env = Environment::with_files(tiny()).await;
    let hangs = ExecutionFault { state: "EnsureInfra".into(), outcome: Outcome::Stuck };
    env.sandbox.faults().set(Faults { executions: [("*".to_owned(), hangs)].into(), ..Faults::default() });
    let queue = Queue::create(env.sandbox.region()).await;
    let option = format!("--status-queue-url={}", queue.url);
    let flags = ["--poll-interval-ms=40000", "--execution-wait-ms=60000", "--aws-timeout-ms=4000", &option];
    let replicas = [Replica::start(&env, &flags), Replica::start(&env, &flags)];
    let id = deploy(&env, "main").await;
    let arn = wait_for("the execution is followed", async || {
        let facts = env.db.db.deployment(&id).await.unwrap().unwrap().facts;
        facts.polling_state.and(facts.execution_arn)
    })
    .await;

    // None of these is about the deployment; each is deleted.
    let (user, controller) = (env.sandbox.user_account_id(), env.sandbox.controller_account_id());
    let other = arn.replace(":execution:", ":execution:other-");
    let huge = event("aws.states", controller, &json!({"executionArn": "x".repeat(200_000)}));
    for message in [
        "no JSON",
        &"[".repeat(10_000),
        &huge,
        &event("aws.states", controller, &json!({"executionArn": other})),
        &event("aws.codedeploy", user, &json!({"deploymentId": "ecs-svc/1"})),
        &event("aws.s3", user, &json!({"executionArn": arn})),
    ] {
        queue.put(message).await;
    }
    queue.emptied().await;
    let (before, began) = (polls(&env), Instant::now());

    env.sandbox.faults().clear();
    let named = event("aws.states", controller, &json!({"executionArn": arn, "status": "RUNNING"}));
    wait_for("an early poll", async || {
        queue.put(&named).await;
        queue.emptied().await;
        polls(&env) > before
    })
    .await;
    // A quarter of the interval after the last poll; without a message, it would be the whole one.
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    for replica in replicas {
        replica.stop().await;
    }
}

/// ECS reports a service: its rollout, which awaits the switch, is looked at long before the watch would.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_queue__event_of_a_service_looks_at_its_resting_rollout() {
    let env = with_style(RolloutStyle::BlueGreen).await;
    let queue = Queue::create(env.sandbox.region()).await;
    let option = format!("--status-queue-url={}", queue.url);
    let replica = Replica::start(&env, &["--watch-interval-ms=600000", &option]);
    let id = ready(&env).await;
    env.sandbox.console(&env.ecr_repository(), ConsoleAct::Stop);
    let account = env.sandbox.user_account_id();
    let of_service = |name: &str| {
        let cluster = format!("arn:aws:ecs:ap-northeast-2:{account}:cluster/panda-cluster");
        event("aws.ecs", account, &json!({"clusterArn": cluster, "group": format!("service:{name}")}))
    };
    queue.put(&of_service("another")).await;
    queue.emptied().await;
    assert_eq!(env.db.db.deployment(&id).await.unwrap().unwrap().status, "DEPLOYMENT_READY");
    queue.put(&of_service(&env.ecr_repository())).await;
    let failed = status(&env, &id, &["FAILED"]).await;
    assert_eq!(failed.error_code.as_deref(), Some("STOPPED_WHILE_READY"), "{:?}", failed.error_message);
    replica.stop().await;
}

/// A queue that cannot be read changes nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_queue__unreachable_without_effect() {
    let env = Environment::with_files(tiny()).await;
    let replica = Replica::start(&env, &["--status-queue-url=http://127.0.0.1:1/000000000000/status"]);
    let id = deploy(&env, "main").await;
    status(&env, &id, &["DEPLOYMENT_READY"]).await;
    replica.stop().await;
}
