//! The sandbox is held against moto: the same calls are made to both, and what a client sees must be the same.
//!
//! Neither is AWS, but they were written by different people from the same documentation. Where they differ, one of them is wrong: a
//! mistake of the sandbox's is mended, and one of moto's is listed beside the scenario with what it should be. A listed difference that
//! is no longer there fails the test as well, so the lists stay true.
//!
//! What an answer of the sandbox has must be in moto's; what only moto's has is of no interest here, since nobody reads it.

mod calls;
mod clients;
mod compare;
mod ends;
mod history;

use aws_config::SdkConfig;
use serde_json::{Value, json};
use url::Url;

use super::front::Front;
use super::server::Moto;
use crate::sandbox::bench::{Bench, config};

use compare::{Gap, Transcript, compare};

/// Which account calls.
#[derive(Clone, Copy)]
enum Who {
    User,
    Controller,
}

/// One of the two AWS.
struct Side {
    endpoint: Url,
    region: &'static str,
    /// Access key ids.
    user: String,
    controller: String,
    client: reqwest::Client,
}

impl Side {
    fn new(bench: &Bench, endpoint: &Url) -> Self {
        Self {
            endpoint: endpoint.clone(),
            region: bench.sandbox.region(),
            user: bench.sandbox.user_credentials().access_key_id.clone(),
            controller: bench.sandbox.controller_credentials().access_key_id.clone(),
            client: reqwest::Client::new(),
        }
    }

    /// One call over the wire: the answer's body, or the error's code with the status.
    ///
    /// Below the SDK, because the SDK shows neither a member that it does not know nor one that is missing where it has a default.
    async fn call(&self, who: Who, target: &str, input: Value) -> Value {
        let service = match target.split('.').next().unwrap() {
            "AWSEvents" => "events",
            "AmazonEC2ContainerRegistry_V20150921" => "ecr",
            "AWSStepFunctions" => "states",
            "CodeDeploy_20141006" => "codedeploy",
            other => other,
        };
        let key = match who {
            Who::User => &self.user,
            Who::Controller => &self.controller,
        };
        let scope = format!("{key}/20260101/{}/{service}/aws4_request", self.region);
        let version = if service == "states" { "1.0" } else { "1.1" };
        let request = self
            .client
            .post(self.endpoint.clone())
            .header("x-amz-target", target)
            .header("authorization", format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"))
            .header("content-type", format!("application/x-amz-json-{version}"))
            .body(input.to_string());
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        let body: Value = if text.is_empty() { json!({}) } else { serde_json::from_str(&text).unwrap_or(json!(text)) };
        if status == 200 {
            return body;
        }
        // "com.amazonaws.ecr#RepositoryNotFoundException" and the bare name mean the same to every SDK.
        let code = body["__type"].as_str().map_or("none", |kind| kind.rsplit('#').next().unwrap_or(kind));
        json!({"status": status, "code": code})
    }
}

/// Both, empty but for the controller's bus `panda`.
struct Pair {
    bench: Bench,
    ours: Side,
    theirs: Side,
    moto_controller: SdkConfig,
    _front: Front,
    _moto: Moto,
}

impl Pair {
    async fn start() -> Self {
        let (bench, moto) = tokio::join!(Bench::start(), Moto::start());
        let front = Front::start(moto.url().clone()).await;
        front.connect(&bench.sandbox, bench.registry_address(), false);
        let (ours, theirs) = (Side::new(&bench, bench.sandbox.endpoint()), Side::new(&bench, front.url()));
        theirs.call(Who::Controller, "AWSEvents.CreateEventBus", json!({"Name": "panda"})).await;
        let sandbox = &bench.sandbox;
        let moto_controller = config(front.url().as_str(), sandbox.region(), sandbox.controller_credentials());
        Self { bench, ours, theirs, moto_controller, _front: front, _moto: moto }
    }

    /// Runs `scenario` on both and compares; `gaps` are all the differences that there may, and must, be.
    async fn agree(self, scenario: impl AsyncFn(&Side) -> Transcript, gaps: &[Gap]) {
        // On the heap: a scenario's calls are large together.
        let ours = Box::pin(scenario(&self.ours)).await;
        let theirs = Box::pin(scenario(&self.theirs)).await;
        self.bench.end().await;
        compare(&ours, &theirs, gaps);
    }
}
