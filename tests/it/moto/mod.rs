//! Panda against moto, an AWS that others wrote: what the sandbox says of AWS is not only our own belief.
//!
//! # What is moto's own here
//! Both accounts' EventBridge (the rule, its target, the way of an event from the user's default bus over the controller's bus to the
//! pipeline), ECR's repositories, tags and images, Secrets Manager, SQS, STS, and Step Functions, which really runs the state machine:
//! states are held open with task tokens, and the history grows while Panda reads it.
//!
//! # What moto lacks, and what stands in for it
//! - **Images.** Its ECR names registries of AWS and holds no layers. `front` puts the address and password of a real registry into its
//!   answers, records what was pushed there by moto's own PutImage, and puts the event that ECR would, by moto's own PutEvents.
//! - **Accounts by key.** It takes every key that its IAM did not make for one account's. `front` says whose each of our two keys is.
//! - **The bus's policy.** Events cross to another account's bus whether it permits them or not; the test reads the policy back.
//! - **Executions as targets of a rule.** The rule leads to a queue, and `pipeline` starts the execution.
//! - **ECS, and most of CodeDeploy** (no ContinueDeployment, no StopDeployment, no targets; a deployment stays `Created`). The sandbox's
//!   are used, through Panda's own setting for CodeDeploy's address; `stand_in` says how.
//! - **Pages and order of a history**: GetExecutionHistory gives all of it, oldest first, whatever is asked for. And an abort is in it
//!   only once the state that was at work has ended, so the test ends that state's work.
//! - **The age of a registry's password**: it ended in 2015, says `expiresAt`; nobody here reads it.
//!
//! Smaller differences are listed as data in `conformity`.

mod conformity;
mod flow;
mod front;
mod keys;
mod pipeline;
mod server;
mod stand_in;

use aws_config::SdkConfig;
use panda::sandbox::git::SourceFile;
use serde_json::Value;

use crate::sandbox::bench;
use crate::support::world::World;
use front::Front;
use pipeline::Pipeline;
use server::Moto;

/// A world whose AWS is moto, but for ECS and CodeDeploy.
struct Cloud {
    world: World,
    front: Front,
    _moto: Moto,
}

impl Cloud {
    /// A cloud whose GitHub has `files`. The sandbox hears of pushes when it is to be the `stand_in` of ECS and CodeDeploy.
    async fn start(files: Vec<SourceFile>, stand_in: bool) -> Self {
        let moto = Moto::start().await;
        let front = Front::start(moto.url().clone()).await;
        let world = World::reporting_to(files, Some(front.notification_url())).await;
        front.connect(&world.sandbox, world.registry_address(), stand_in);
        Self { world, front, _moto: moto }
    }

    fn user(&self) -> SdkConfig {
        let sandbox = &self.world.sandbox;
        bench::config(self.front.url().as_str(), sandbox.region(), sandbox.user_credentials())
    }

    fn controller(&self) -> SdkConfig {
        let sandbox = &self.world.sandbox;
        bench::config(self.front.url().as_str(), sandbox.region(), sandbox.controller_credentials())
    }

    async fn pipeline(&self, definition: impl FnOnce(&str) -> Value) -> Pipeline {
        Pipeline::set_up(&self.controller(), self.front.url(), definition).await
    }

    /// What makes a Panda of this world one of moto's.
    fn flags(&self) -> [String; 3] {
        [
            format!("--aws-endpoint={}", self.front.url()),
            format!("--codedeploy-endpoint={}", self.world.sandbox.endpoint()),
            "--execution-wait-ms=60000".to_owned(),
        ]
    }
}
