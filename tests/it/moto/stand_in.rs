//! The user's ECS and CodeDeploy: moto runs no container and cannot continue a deployment, so the sandbox does both.
//!
//! The sandbox is linked as usual: it is notified of the same push, finds its own rule, target and permission, and runs its own pipeline. The states
//! in moto answer with its findings about blue, green and the CodeDeploy deployment.

use std::time::Duration;

use panda::clients::aws::{Aws, UserAws};
use panda::domain::connection::AwsCredentials;
use panda::domain::history::HistoryKind;
use panda::domain::names::{permission_statement, push_event_pattern};
use serde_json::Value;

use crate::support::environment::{self, Environment, InProcess as _, keys};
use crate::support::wait_for;

/// The sandbox as ECS and CodeDeploy.
pub struct StandIn {
    aws: Aws,
    repository: String,
}

impl StandIn {
    /// Creates every link of the sandbox's chain for the environment's repository.
    pub async fn link(env: &Environment) -> Self {
        let sandbox = &env.sandbox;
        let (endpoint, region) = (Some(sandbox.endpoint().clone()), Some(sandbox.region()));
        let aws = environment::aws(endpoint, region, env.controller(), Duration::from_secs(30), &[]).await;
        let stand_in = Self { aws, repository: env.ecr_repository() };
        let user = stand_in.user(env);
        let repository = &stand_in.repository;
        user.ecr.create_repository(repository, &[]).await.unwrap();
        user.rules.put_rule(repository, &push_event_pattern(repository), "stand-in").await.unwrap();
        let role = sandbox.events_role();
        user.rules.put_target(repository, "panda", &sandbox.bus_arn(), Some(&role)).await.unwrap();
        let account = sandbox.user_account_id();
        let bus = &stand_in.aws.controller().bus;
        bus.allow_account("panda", &permission_statement(account), account).await.unwrap();
        stand_in
    }

    fn user(&self, env: &Environment) -> UserAws {
        let keys = keys(env.sandbox.user_credentials());
        self.aws.user("stand-in", env.sandbox.region(), &AwsCredentials::Keys(keys))
    }

    /// Waits for the output of `state` and returns the payload below `path`.
    pub async fn found(&self, state: &str, path: &str) -> Value {
        let controller = self.aws.controller();
        let secret = format!("panda/stepfunctions/{}-latest-execution", self.repository);
        let output = wait_for(&format!("the stand-in leaves {state}"), async || {
            let emitted: Value = serde_json::from_str(&controller.secrets.value(&secret).await.unwrap()?).unwrap();
            let arn = emitted["executionArn"].as_str().unwrap();
            let history = controller.executions.history_after(arn, 0).await.unwrap();
            history.into_iter().find_map(|event| match event.event().kind {
                HistoryKind::StateExited { name, output } if name == state => output.text,
                HistoryKind::Failed { error, cause } => panic!("the stand-in failed: {error:?} {cause:?}"),
                _ => None,
            })
        })
        .await;
        serde_json::from_str::<Value>(&output).unwrap()[path]["Payload"].clone()
    }
}
