//! A sandbox with a real registry and a real engine, and the SDK's clients of both accounts.

use std::collections::HashMap;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_sdk_codedeploy as codedeploy;
use aws_sdk_ecr as ecr;
use aws_sdk_eventbridge as eventbridge;
use aws_sdk_secretsmanager as secretsmanager;
use aws_sdk_sfn as sfn;
use aws_sdk_sfn::types::{HistoryEvent, HistoryEventType};
use bollard::auth::DockerCredentials;
use bollard::query_parameters::{BuildImageOptionsBuilder, ListContainersOptionsBuilder, PushImageOptionsBuilder};
use futures_util::TryStreamExt as _;
use panda_dev_services::{Engine, Registry, RegistryOptions};
use panda_sandbox::{RegistryAddress, Sandbox, SandboxCredentials, SandboxOptions, Timing};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use uuid::Uuid;

use crate::engines::{engine, forget_image};
use crate::wait_for;

/// Behaviour of an image.
#[derive(Clone, Copy)]
pub enum App {
    Hello(&'static str),
    Broken,
    Exits,
}

impl App {
    fn script(self) -> String {
        match self {
            Self::Hello(version) => {
                format!(
                    "mkdir /www && echo {version} > /www/index.html && cp /www/index.html /www/health && exec httpd -f -p $PORT -h /www"
                )
            }
            Self::Broken => "exec nc -ll -p $PORT -e /answer".to_owned(),
            Self::Exits => "echo cannot find my database; exit 3".to_owned(),
        }
    }
}

const ANSWER: &str = "#!/bin/sh\nwhile read -r line && [ ${#line} -gt 1 ]; do :; done\n\
                      printf 'HTTP/1.1 500 Oops\\r\\nContent-Length: 0\\r\\nConnection: close\\r\\n\\r\\n'\n";

pub struct Harness {
    pub sandbox: Sandbox,
    rest: Rest,
}

/// The services below the sandbox.
pub struct Rest {
    pub engine: Engine,
    registry: Registry,
    images: Vec<String>,
    dir: TempDir,
}

impl Rest {
    pub async fn end(self) {
        for image in &self.images {
            forget_image(&self.engine, image).await;
        }
        self.registry.stop().await.unwrap();
        self.engine.stop_and_remove().await.unwrap();
        drop(self.dir);
    }
}

impl std::ops::Deref for Harness {
    type Target = Rest;

    fn deref(&self) -> &Rest {
        &self.rest
    }
}

/// Short waits, so that a test takes as long as its containers.
pub fn brisk() -> Timing {
    let brief = Duration::from_millis(20);
    Timing {
        execution_start_delay: brief,
        ensure_infra: brief,
        register_task: brief,
        check_deployment: Duration::from_millis(300),
        traffic_shift: brief,
        termination_wait: brief,
        ..Timing::default()
    }
}

impl Harness {
    pub async fn start() -> Self {
        Self::with(brisk(), None).await
    }

    /// With its own timing, and an application as the initial blue image.
    pub async fn with(timing: Timing, initial: Option<App>) -> Self {
        let (engine, dir) = engine().await;
        let mut images = Vec::new();
        let mut initial_image = None;
        if let Some(app) = initial {
            let image = format!("panda-sandbox-initial-{}:1", Uuid::new_v4());
            build(&engine, &image, app).await;
            images.push(image.clone());
            initial_image = Some(image);
        }
        let listen = "127.0.0.1:0".parse().unwrap();
        let options = SandboxOptions {
            keys: None,
            docker: engine.docker().clone(),
            registry: None,
            initial_image,
            timing,
            listen,
        };
        let sandbox = Sandbox::start(options).await.unwrap();
        let options = RegistryOptions {
            dir: dir.path().join("registry"),
            notification_url: sandbox.notification_url().clone(),
            engine: Some(&engine),
        };
        let registry = Registry::start(options).await.unwrap();
        let harness = Self { sandbox, rest: Rest { engine, registry, images, dir } };
        harness.sandbox.set_registry(harness.registry_address());
        harness
    }

    /// Address and login of its registry.
    pub fn registry_address(&self) -> RegistryAddress {
        let (host_port, password) = (self.registry.host_port(), self.registry.password().clone());
        RegistryAddress { host_port, username: self.registry.username().to_owned(), password }
    }

    /// Ends everything, and checks that no container is left.
    pub async fn end(self) {
        let label = self.sandbox.container_label();
        self.sandbox.shutdown().await;
        assert_eq!(containers(&self.rest.engine, &label).await, 0);
        self.rest.end().await;
    }

    /// Drops the sandbox's handle and returns the remaining services.
    pub fn drop_sandbox(self) -> Rest {
        drop(self.sandbox);
        self.rest
    }

    pub fn config(&self, credentials: &SandboxCredentials) -> SdkConfig {
        config(self.sandbox.endpoint().as_str(), self.sandbox.region(), credentials)
    }

    pub fn user(&self) -> SdkConfig {
        self.config(self.sandbox.user_credentials())
    }

    pub fn controller(&self) -> SdkConfig {
        self.config(self.sandbox.controller_credentials())
    }

    pub fn ecr(&self) -> ecr::Client {
        ecr::Client::new(&self.user())
    }

    pub fn codedeploy(&self) -> codedeploy::Client {
        codedeploy::Client::new(&self.user())
    }

    /// EventBridge client of the user's account.
    pub fn events(&self) -> eventbridge::Client {
        eventbridge::Client::new(&self.user())
    }

    pub fn sfn(&self) -> sfn::Client {
        sfn::Client::new(&self.controller())
    }

    pub fn secrets(&self) -> secretsmanager::Client {
        secretsmanager::Client::new(&self.controller())
    }

    pub async fn create_repository(&self, repository: &str) {
        self.ecr().create_repository().repository_name(repository).send().await.unwrap();
    }

    pub async fn put_rule(&self, rule: &str, repository: &str) {
        let pattern = json!({
            "source": ["aws.ecr"], "detail-type": ["ECR Image Action"],
            "detail": {"action-type": ["PUSH"], "result": ["SUCCESS"], "repository-name": [repository]},
        });
        self.events().put_rule().name(rule).event_pattern(pattern.to_string()).send().await.unwrap();
    }

    pub async fn put_target(&self, rule: &str) {
        let target = eventbridge::types::Target::builder().id("panda").arn(self.sandbox.bus_arn());
        let target = target.role_arn(self.sandbox.events_role()).build().unwrap();
        let answer = self.events().put_targets().rule(rule).targets(target).send().await.unwrap();
        assert_eq!(answer.failed_entry_count(), 0);
    }

    pub async fn permit(&self) {
        let client = eventbridge::Client::new(&self.controller());
        let call = client.put_permission().event_bus_name("panda").action("events:PutEvents");
        call.principal(self.sandbox.user_account_id()).statement_id("panda-user").send().await.unwrap();
    }

    /// Creates every link of the chain for a repository.
    pub async fn link(&self, repository: &str) {
        self.create_repository(repository).await;
        self.put_rule(repository, repository).await;
        self.put_target(repository).await;
        self.permit().await;
    }

    /// Builds and pushes an image; returns its digest.
    pub async fn push(&mut self, repository: &str, app: App) -> String {
        let name = format!("{}/{repository}", self.registry.host_port());
        let tag = Uuid::new_v4().to_string();
        let image = format!("{name}:{tag}");
        build(&self.engine, &image, app).await;
        self.rest.images.push(image.clone());
        let login = DockerCredentials {
            username: Some(self.registry.username().to_owned()),
            password: Some(self.registry.password().expose_secret().to_owned()),
            ..DockerCredentials::default()
        };
        let options = PushImageOptionsBuilder::new().tag(&tag).build();
        self.engine
            .docker()
            .push_image(&name, Some(options), Some(login))
            .try_for_each(async |_| Ok(()))
            .await
            .unwrap();
        let known = self.engine.docker().inspect_image(&image).await.unwrap().repo_digests.unwrap();
        known.iter().find_map(|digest| digest.strip_prefix(&format!("{name}@"))).unwrap().to_owned()
    }

    /// The last pushed image, which the harness then no longer removes.
    pub fn forget_last_image(&mut self) -> String {
        self.rest.images.pop().unwrap()
    }

    /// Registers an image that the sandbox pulled for removal at the end.
    pub async fn forget_pulled(&mut self, repository: &str, digest: &str) {
        let image = format!("{}/{repository}@{digest}", self.registry.host_port());
        assert!(self.engine.docker().inspect_image(&image).await.is_ok());
        self.rest.images.push(image);
    }

    /// Waits for the execution started by a digest.
    pub async fn execution_of(&self, repository: &str, digest: &str) -> String {
        wait_for("an execution starts", async || self.sandbox.effects(repository).executions.contains_key(digest))
            .await;
        for arn in self.sandbox.effects(repository).execution_arns {
            let execution = self.sfn().describe_execution().execution_arn(&arn).send().await.unwrap();
            if execution.input().unwrap().contains(digest) {
                return arn;
            }
        }
        panic!("no execution has {digest} in its input");
    }

    pub async fn history(&self, arn: &str) -> Vec<HistoryEvent> {
        let mut pages = self.sfn().get_execution_history().execution_arn(arn).into_paginator().items().send();
        let mut events = Vec::new();
        while let Some(event) = pages.next().await {
            events.push(event.unwrap());
        }
        events
    }

    /// Waits for the output of a state.
    pub async fn output_of(&self, arn: &str, state: &str) -> Value {
        let mut output = None;
        wait_for(&format!("{state} is left"), async || {
            let left = self.history(arn).await.into_iter().find_map(|event| {
                event
                    .state_exited_event_details
                    .filter(|details| details.name == state)
                    .and_then(|details| details.output)
            });
            output = left.map(|text| serde_json::from_str(&text).unwrap());
            output.is_some()
        })
        .await;
        output.unwrap()
    }

    /// The payload of the approval that an execution waits for.
    pub async fn approval(&self, arn: &str) -> Value {
        let output = self.output_of(arn, "CheckDeployment").await;
        let payload = output["checkResult"]["Payload"].clone();
        assert_eq!(payload["status"], "WAITING_APPROVAL");
        payload
    }

    /// The last event, once the execution has ended.
    pub async fn end_of(&self, arn: &str) -> HistoryEvent {
        wait_for("the execution ends", async || {
            let execution = self.sfn().describe_execution().execution_arn(arn).send().await.unwrap();
            execution.status != sfn::types::ExecutionStatus::Running
        })
        .await;
        self.history(arn).await.pop().unwrap()
    }
}

pub fn config(endpoint: &str, region: &str, credentials: &SandboxCredentials) -> SdkConfig {
    let secret = credentials.secret_access_key.expose_secret();
    let keys = aws_sdk_sts::config::Credentials::new(&credentials.access_key_id, secret, None, None, "test");
    SdkConfig::builder()
        .behavior_version(aws_config::BehaviorVersion::latest())
        .region(aws_config::Region::new(region.to_owned()))
        .credentials_provider(aws_sdk_sts::config::SharedCredentialsProvider::new(keys))
        .endpoint_url(endpoint)
        .retry_config(RetryConfig::disabled())
        .build()
}

/// Number of containers with a label, running or not.
pub async fn containers(engine: &Engine, label: &str) -> usize {
    let filters = HashMap::from([("label", vec![label.to_owned()])]);
    let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
    engine.docker().list_containers(Some(options)).await.unwrap().len()
}

pub fn types(history: &[HistoryEvent]) -> Vec<HistoryEventType> {
    history.iter().map(|event| event.r#type.clone()).collect()
}

/// Status and text of a URL's answer.
pub async fn fetch(url: &str) -> (u16, String) {
    let answer = reqwest::get(url).await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

async fn build(engine: &Engine, image: &str, app: App) {
    // A unique label gives each image a unique digest.
    let dockerfile = format!(
        "FROM busybox:1\nLABEL test={}\nCOPY answer /answer\nCMD [\"sh\", \"-c\", \"{}\"]\n",
        Uuid::new_v4(),
        app.script()
    );
    let mut archive = tar::Builder::new(Vec::new());
    for (name, mode, content) in [("Dockerfile", 0o644, dockerfile.as_str()), ("answer", 0o755, ANSWER)] {
        let mut header = tar::Header::new_gnu();
        header.set_mode(mode);
        header.set_size(content.len() as u64);
        archive.append_data(&mut header, name, content.as_bytes()).unwrap();
    }
    let archive = bytes::Bytes::from(archive.into_inner().unwrap());
    let make = async || {
        let options = BuildImageOptionsBuilder::new().t(image).forcerm(true).build();
        let body = bollard::body_full(archive.clone());
        engine.docker().build_image(options, None, Some(body)).try_for_each(async |_| Ok(())).await
    };
    // The engine is shared: layers that another test's cleanup removed during the build are made by the second try.
    match make().await {
        Err(error) if error.to_string().contains("unable to find image \"sha256:") => make().await.unwrap(),
        done => done.unwrap(),
    }
}
