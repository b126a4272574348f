//! The same calls to the sandbox and to moto.

use aws_config::SdkConfig;
use serde_json::{Value, json};
use url::Url;

use super::compare::{Gap, Transcript, compare};
use super::proxy::MotoProxy;
use super::server::Moto;
use crate::sandbox::{Harness, config};

/// The account that calls.
#[derive(Clone, Copy)]
pub enum Who {
    User,
    Controller,
}

/// One of the two implementations.
pub struct Side {
    pub endpoint: Url,
    pub region: &'static str,
    /// Access key id of each account.
    pub user: String,
    pub controller: String,
    pub client: reqwest::Client,
}

impl Side {
    pub fn new(harness: &Harness, endpoint: &Url) -> Self {
        Self {
            endpoint: endpoint.clone(),
            region: harness.sandbox.region(),
            user: harness.sandbox.user_credentials().access_key_id.clone(),
            controller: harness.sandbox.controller_credentials().access_key_id.clone(),
            client: reqwest::Client::new(),
        }
    }

    /// Makes one call over the wire; returns the answer's body, or the error's code with the status.
    ///
    /// Below the SDK, because the SDK hides unknown fields and fills in defaults for missing ones.
    pub async fn call(&self, who: Who, target: &str, input: Value) -> Value {
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
        // Every SDK treats "com.amazonaws.ecr#RepositoryNotFoundException" and the bare name alike.
        let code = body["__type"].as_str().map_or("none", |kind| kind.rsplit('#').next().unwrap_or(kind));
        json!({"status": status, "code": code})
    }
}

/// Both implementations, empty but for the controller's bus `panda`.
pub struct BothSides {
    pub harness: Harness,
    pub ours: Side,
    pub theirs: Side,
    pub moto_controller: SdkConfig,
    _proxy: MotoProxy,
    _moto: Moto,
}

impl BothSides {
    pub async fn start() -> Self {
        let (harness, moto) = tokio::join!(Harness::start(), Moto::start());
        let proxy = MotoProxy::start(moto.url().clone()).await;
        proxy.connect(&harness.sandbox, harness.registry_address(), false);
        let (ours, theirs) = (Side::new(&harness, harness.sandbox.endpoint()), Side::new(&harness, proxy.url()));
        theirs.call(Who::Controller, "AWSEvents.CreateEventBus", json!({"Name": "panda"})).await;
        let sandbox = &harness.sandbox;
        let moto_controller = config(proxy.url().as_str(), sandbox.region(), sandbox.controller_credentials());
        Self { harness, ours, theirs, moto_controller, _proxy: proxy, _moto: moto }
    }

    /// Runs `scenario` on both and compares; `gaps` are all differences that may, and must, occur.
    pub async fn agree(self, scenario: impl AsyncFn(&Side) -> Transcript, gaps: &[Gap]) {
        // On the heap, because the futures of a scenario's calls are large.
        let ours = Box::pin(scenario(&self.ours)).await;
        let theirs = Box::pin(scenario(&self.theirs)).await;
        self.harness.end().await;
        compare(&ours, &theirs, gaps);
    }
}
