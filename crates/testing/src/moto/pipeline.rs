//! The company's pipeline in the controller's account: it receives a push event, starts the state machine, writes the mailbox secret, and does the
//! work of the states. Panda only reads the results.

use aws_config::SdkConfig;
use aws_sdk_eventbridge as eventbridge;
use aws_sdk_secretsmanager as secretsmanager;
use aws_sdk_sfn as sfn;
use serde_json::{Value, json};
use url::Url;

use crate::wait_for;

pub const BUS: &str = "panda";
const ROLE: &str = "arn:aws:iam::123456789012:role/panda-deployment";
const PUSHES: &str = "pushes";
const WORK: &str = "work";

/// The pipeline of one test.
pub struct Pipeline {
    sfn: sfn::Client,
    secrets: secretsmanager::Client,
    queues: Queues,
    machine: String,
}

/// A state that waits for its work to be done.
pub struct Work {
    pub state: String,
    pub input: Value,
    token: String,
}

impl Pipeline {
    /// Sets up in moto the bus, its rule for pushes, and the state machine.
    pub async fn set_up(controller: &SdkConfig, endpoint: &Url, definition: impl FnOnce(&str) -> Value) -> Self {
        let pipeline = Self::without_bus(controller, endpoint, definition).await;
        let events = eventbridge::Client::new(controller);
        events.create_event_bus().name(BUS).send().await.unwrap();
        let pattern = json!({"source": ["aws.ecr"], "detail-type": ["ECR Image Action"]}).to_string();
        events.put_rule().event_bus_name(BUS).name("pipeline").event_pattern(pattern).send().await.unwrap();
        let queue = format!("arn:aws:sqs:ap-northeast-2:123456789012:{PUSHES}");
        let target = eventbridge::types::Target::builder().id("pushes").arn(queue).build().unwrap();
        events.put_targets().event_bus_name(BUS).rule("pipeline").targets(target).send().await.unwrap();
        pipeline
    }

    /// Only a state machine and its queues, to be started manually.
    pub async fn without_bus(controller: &SdkConfig, endpoint: &Url, definition: impl FnOnce(&str) -> Value) -> Self {
        let queues = Queues { endpoint: endpoint.clone(), client: reqwest::Client::new() };
        for queue in [PUSHES, WORK] {
            queues.call("CreateQueue", json!({"QueueName": queue})).await;
        }
        let sfn = sfn::Client::new(controller);
        let definition = definition(&queues.url(WORK)).to_string();
        let machine = sfn.create_state_machine().name("panda-deployment").role_arn(ROLE).definition(definition);
        let machine = machine.send().await.unwrap().state_machine_arn;
        Self { sfn, secrets: secretsmanager::Client::new(controller), queues, machine }
    }

    /// The next push event that has arrived at the controller's bus.
    pub async fn pushed(&self) -> Value {
        self.queues.next(PUSHES, "a push reaches the controller's bus").await
    }

    /// Starts an execution with `event` as its input and writes its ARN to the mailbox of `repository`; returns the ARN.
    pub async fn start(&self, event: &Value, repository: &str) -> String {
        let arn = self.execute(event).await;
        let secret = format!("panda/stepfunctions/{repository}-latest-execution");
        let value = json!({"executionArn": arn}).to_string();
        self.secrets.create_secret().name(secret).secret_string(value).send().await.unwrap();
        arn
    }

    /// Starts an execution with `event` as its input; returns the ARN, which the state machine writes to the mailbox itself.
    pub async fn execute(&self, event: &Value) -> String {
        let start = self.sfn.start_execution().state_machine_arn(&self.machine);
        let start = start.name(uuid::Uuid::new_v4().to_string()).input(event.to_string());
        start.send().await.unwrap().execution_arn
    }

    /// The state that waits for its work; it must be `state`.
    pub async fn work(&self, state: &str) -> Work {
        let message = self.queues.next(WORK, &format!("{state} asks for its work")).await;
        let text = |key: &str| message[key].as_str().unwrap().to_owned();
        let work = Work { state: text("state"), input: message["input"].clone(), token: text("token") };
        assert_eq!(work.state, state);
        work
    }

    /// Completes a state's work.
    pub async fn done(&self, work: Work, payload: &Value) {
        let output = json!({"StatusCode": 200, "Payload": payload}).to_string();
        self.sfn.send_task_success().task_token(work.token).output(output).send().await.unwrap();
    }

    /// Fails a state's work.
    pub async fn failed(&self, work: Work, error: &str) {
        self.sfn.send_task_failure().task_token(work.token).error(error).send().await.unwrap();
    }

    /// Aborts an execution, as an operator would.
    pub async fn abort(&self, arn: &str) {
        let stop = self.sfn.stop_execution().execution_arn(arn).cause("stopped by an operator");
        stop.send().await.unwrap();
    }

    /// Waits for the end of an execution.
    pub async fn end_of(&self, arn: &str) -> sfn::types::ExecutionStatus {
        wait_for("the execution ends", async || {
            let status = self.sfn.describe_execution().execution_arn(arn).send().await.unwrap().status;
            (status != sfn::types::ExecutionStatus::Running).then_some(status)
        })
        .await
    }
}

/// A task that waits until its work is [`Pipeline::done`]; its result is stored at `path`.
pub fn held(state: &str, path: &str, queue: &str, next: Option<&str>) -> Value {
    let message = json!({"token.$": "$$.Task.Token", "state": state, "input.$": "$"});
    let parameters = json!({"QueueUrl": queue, "MessageBody": message});
    task("arn:aws:states:::sqs:sendMessage.waitForTaskToken", &parameters, path, next)
}

/// A task that completes immediately: moto's functions return their input.
pub fn echo(state: &str, path: &str, payload: &Value, next: Option<&str>) -> Value {
    let function = format!("arn:aws:lambda:ap-northeast-2:123456789012:function:panda-{state}");
    task("arn:aws:states:::lambda:invoke", &json!({"FunctionName": function, "Payload": payload}), path, next)
}

fn task(resource: &str, parameters: &Value, path: &str, next: Option<&str>) -> Value {
    let mut task =
        json!({"Type": "Task", "Resource": resource, "Parameters": parameters, "ResultPath": format!("$.{path}")});
    match next {
        Some(next) => task["Next"] = json!(next),
        None => task["End"] = json!(true),
    }
    task
}

/// moto's SQS. Panda does not use SQS, so the project has no SDK for it.
struct Queues {
    endpoint: Url,
    client: reqwest::Client,
}

impl Queues {
    fn url(&self, queue: &str) -> String {
        self.endpoint.join(&format!("123456789012/{queue}")).unwrap().into()
    }

    async fn call(&self, operation: &str, body: Value) -> Value {
        let scope = "AKIAPIPELINE/20260101/ap-northeast-2/sqs/aws4_request";
        let request = self
            .client
            .post(self.endpoint.clone())
            .header("x-amz-target", format!("AmazonSQS.{operation}"))
            .header("authorization", format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"))
            .header("content-type", "application/x-amz-json-1.0")
            .body(body.to_string());
        let answer = request.send().await.unwrap();
        assert!(answer.status().is_success(), "{operation}: {}", answer.text().await.unwrap());
        let text = answer.text().await.unwrap();
        if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap() }
    }

    /// Takes the next message off a queue.
    async fn next(&self, queue: &str, what: &str) -> Value {
        let url = self.url(queue);
        let message = wait_for(what, async || {
            let answer = self.call("ReceiveMessage", json!({"QueueUrl": url, "MaxNumberOfMessages": 1})).await;
            answer["Messages"].get(0).cloned()
        })
        .await;
        self.call("DeleteMessage", json!({"QueueUrl": url, "ReceiptHandle": message["ReceiptHandle"]})).await;
        serde_json::from_str(message["Body"].as_str().unwrap()).unwrap()
    }
}
