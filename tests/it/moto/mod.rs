//! Panda against moto, an independent implementation of AWS, because the sandbox encodes only this project's own understanding of AWS.
//!
//! # Parts that moto provides
//! Both accounts' EventBridge (the rule, its target, the event's path from the user's default bus over the controller's bus to the
//! pipeline), ECR's repositories, tags and images, Secrets Manager, SQS, STS, and Step Functions, which really runs the state machine:
//! states are held open with task tokens, and the history grows while Panda reads it.
//!
//! # Parts that moto lacks, and their substitutes
//! - **Images.** Its ECR names registries of AWS and holds no layers. `proxy` puts the address and password of a real registry into its
//!   answers, records each push with moto's own PutImage, and sends ECR's event with moto's own PutEvents.
//! - **Accounts by key.** It assigns every key that its IAM did not make to one account. `proxy` maps our two keys to their accounts.
//! - **The bus's policy.** Events cross to another account's bus regardless of its policy; the test reads the policy back.
//! - **Executions as targets of a rule.** The rule leads to a queue, and `pipeline` starts the execution.
//! - **ECS, and most of CodeDeploy** (no ContinueDeployment, no StopDeployment, no targets; a deployment stays `Created`). The sandbox's
//!   are used, through Panda's own setting for CodeDeploy's address; see `stand_in`.
//! - **Pages and order of a history**: GetExecutionHistory returns all of it, oldest first, whatever the parameters. It contains an abort
//!   only after the running state has ended, so the test ends that state's work.
//! - **The age of a registry's password**: `expiresAt` is in 2015; Panda does not read it.
//!
//! - **SDK integrations** of a state machine: `Moto::with_sdk_integrations` completes them, and `docs/pipeline-contract.md` lists the rest.
//!
//! Smaller differences are listed as data in `conformity`.

mod alarms;
mod conformity;
mod flow;
mod kms;
mod load_balancers;
mod published_pipeline;
mod stand_in;

use aws_config::SdkConfig;
use panda_sandbox::git::SourceFile;
use serde_json::Value;

use crate::sandbox::harness;
use crate::support::environment::Environment;
use panda_testing::moto::pipeline::{self, Pipeline};
use panda_testing::moto::proxy::MotoProxy;
use panda_testing::moto::server::Moto;

/// An environment whose AWS is moto, except for ECS and CodeDeploy.
struct Cloud {
    env: Environment,
    proxy: MotoProxy,
    _moto: Moto,
}

impl Cloud {
    /// An environment whose GitHub has `files`. With `stand_in`, the sandbox is notified of pushes and provides ECS and CodeDeploy.
    async fn start(files: Vec<SourceFile>, stand_in: bool) -> Self {
        Self::of(Moto::start().await, files, stand_in).await
    }

    /// The same with this moto.
    async fn of(moto: Moto, files: Vec<SourceFile>, stand_in: bool) -> Self {
        let proxy = MotoProxy::start(moto.url().clone()).await;
        let env = Environment::reporting_to(files, Some(proxy.notification_url())).await;
        proxy.connect(&env.sandbox, env.registry_address(), stand_in);
        Self { env, proxy, _moto: moto }
    }

    fn user(&self) -> SdkConfig {
        let sandbox = &self.env.sandbox;
        harness::config(self.proxy.url().as_str(), sandbox.region(), sandbox.user_credentials())
    }

    fn controller(&self) -> SdkConfig {
        let sandbox = &self.env.sandbox;
        harness::config(self.proxy.url().as_str(), sandbox.region(), sandbox.controller_credentials())
    }

    async fn pipeline(&self, definition: impl FnOnce(&str) -> Value) -> Pipeline {
        Pipeline::set_up(&self.controller(), self.proxy.url(), definition).await
    }

    /// The flags that lead a Panda of this environment to moto.
    fn flags(&self) -> [String; 3] {
        [
            format!("--aws-endpoint={}", self.proxy.url()),
            format!("--codedeploy-endpoint={}", self.env.sandbox.endpoint()),
            "--execution-wait-ms=60000".to_owned(),
        ]
    }
}
