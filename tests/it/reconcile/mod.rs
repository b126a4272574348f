//! The reconciler on real services, without the API: its commits, and its external effects.

mod builds;
mod cancel;
mod database_refusal;
pub mod deploy_source;
mod dockerfiles;
mod failures;
mod fetches;
mod flow;
mod held_commit;
mod limits;
mod noisy_neighbours;
mod outage;
mod push;
mod queue;
mod records;
mod renewed_connections;
mod retry;
pub mod takeover;

use std::sync::Arc;

use panda::background::Background;
use panda::db::create::{Created, NewDeployment};
use panda::db::deployments::DeploymentView;
use panda::domain::StoredEvent;
use panda::domain::connection::{AwsConnection, AwsCredentials, AwsKeys, GithubConnection};
use panda::domain::deployment::Concurrency;
use panda::domain::ids;
use panda::domain::principal::Caller;
use panda::domain::request::Requested;
use panda::metrics::Metrics;
use panda::reconcile::Notifier;
use panda::steps::FIRST_STEP;
use secrecy::{ExposeSecret, SecretString};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::environment::{Environment, OWNER, TOKEN};
use crate::support::wait_for;

/// Codes of the events up to the pushed image, in a new account.
pub const UNTIL_PUSHED: [&str; 17] = [
    "event_rule_created",
    "event_bus_permission_requested",
    "event_bus_permission_granted",
    "clone_started",
    "repository_cloned",
    "dockerfile_search_started",
    "dockerfile_found",
    "build_started",
    "build_progress",
    "build_completed",
    "push_stage_started",
    "ecr_repository_ensured",
    "ecr_login_started",
    "ecr_login_completed",
    "push_started",
    "push_progress",
    "push_completed",
];

/// A reconciler with separate threads and connections, like a process; it runs until it is stopped.
pub struct Replica {
    stop: CancellationToken,
    runtime: Option<Runtime>,
    task: JoinHandle<()>,
}

impl Replica {
    /// Starts one in `env` with further flags.
    pub fn start(env: &Environment, flags: &[&str]) -> Self {
        let (config, controller) = (env.config(flags), env.controller());
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = runtime.spawn(async move {
            let services =
                Arc::new(panda::app::services(&config, Some(controller), &Metrics::default()).await.unwrap());
            let db = panda::app::database(&config, &services.aws).unwrap();
            let (notifier, metrics) = (Notifier::new(|_| {}), Metrics::default());
            let background = Background::new(&db, Arc::clone(&services), notifier.clone(), metrics.clone());
            let reconciler = panda::app::reconciler(&config, db, services, notifier, metrics);
            tokio::join!(reconciler.run(stopped.clone()), background.run(stopped));
        });
        Self { stop, runtime: Some(runtime), task }
    }

    /// Ends it immediately, as SIGKILL would: without releasing its deployments.
    pub fn kill(mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }

    /// Stops it as SIGTERM does.
    pub async fn stop(mut self) {
        self.stop.cancel();
        (&mut self.task).await.unwrap();
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        // A runtime may not wait for its threads inside another runtime.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Creates a deployment of the environment's repository, as the API would.
pub async fn deploy(env: &Environment, branch: &str) -> String {
    deploy_with_token(env, branch, TOKEN).await
}

/// The same on `main` with a policy for a busy target; returns the id and the outcome.
pub async fn deploy_as(env: &Environment, concurrency: Concurrency) -> (String, Created) {
    create(env, "main", TOKEN, concurrency).await
}

/// The same with another token for the source.
pub async fn deploy_with_token(env: &Environment, branch: &str, token: &str) -> String {
    let (id, created) = create(env, branch, token, Concurrency::Reject).await;
    assert!(matches!(created, Created::New(_)), "{created:?}");
    id
}

/// Stores connections to the environment's repository and account, as the API would.
pub async fn connect(env: &Environment, branch: &str, token: &str) -> (GithubConnection, AwsConnection) {
    let db = &env.db.db;
    let keys = env.sandbox.user_credentials();
    let github = GithubConnection {
        id: ids::github_connection_id(),
        owner: OWNER.into(),
        repo: env.repo.clone(),
        branch: branch.into(),
        token: SecretString::from(token),
        build_secrets: std::collections::BTreeMap::new(),
    };
    let aws = AwsConnection {
        id: ids::aws_connection_id(),
        region: env.sandbox.region().into(),
        account_id: env.sandbox.user_account_id().into(),
        credentials: AwsCredentials::Keys(AwsKeys {
            access_key_id: keys.access_key_id.clone(),
            secret_access_key: SecretString::from(keys.secret_access_key.expose_secret()),
            session_token: None,
        }),
    };
    db.insert_github_connection(&github).await.unwrap();
    db.insert_aws_connection(&aws).await.unwrap();
    (github, aws)
}

/// Creates the requested deployment.
pub async fn deploy_what(env: &Environment, requested: Requested) -> String {
    let (id, created) = create_requested(env, requested, TOKEN, Concurrency::Reject).await;
    assert!(matches!(created, Created::New(_)), "{created:?}");
    id
}

async fn create(env: &Environment, branch: &str, token: &str, concurrency: Concurrency) -> (String, Created) {
    create_requested(env, Requested::branch(branch), token, concurrency).await
}

async fn create_requested(
    env: &Environment,
    requested: Requested,
    token: &str,
    concurrency: Concurrency,
) -> (String, Created) {
    let db = &env.db.db;
    let branch = requested.source.branch().unwrap_or("main");
    let (github, aws) = connect(env, branch, token).await;
    let new = NewDeployment {
        id: ids::deployment_id(),
        owner: OWNER.into(),
        repo: env.repo.clone(),
        requested,
        github_connection_id: github.id,
        aws_connection_id: aws.id,
        account_id: aws.account_id,
        region: aws.region,
        ecr_repository: env.ecr_repository(),
        first_step: FIRST_STEP.into(),
        trace: None,
        concurrency,
    };
    let created = db.create_deployment(&new, None, &Caller::local(), |_| serde_json::Value::Null).await.unwrap();
    db.notify_work(&new.id).await.unwrap();
    (new.id, created)
}

/// Waits until the deployment has one of `statuses`.
pub async fn status(env: &Environment, id: &str, statuses: &[&str]) -> DeploymentView {
    wait_for(&format!("{id} is one of {statuses:?}"), async || {
        let view = env.db.db.deployment(id).await.unwrap().unwrap();
        let failed = view.status == "FAILED" && !statuses.contains(&"FAILED");
        assert!(!failed, "it failed: {:?} {:?}", view.error_code, view.error_message);
        statuses.contains(&view.status.as_str()).then_some(view)
    })
    .await
}

pub async fn events(env: &Environment, id: &str) -> Vec<StoredEvent> {
    env.db.db.events_after(id, 0, 10_000).await.unwrap()
}

/// Codes in order; repetitions of one code count as one.
pub fn codes(events: &[StoredEvent]) -> Vec<&str> {
    let mut codes: Vec<&str> = events.iter().map(|event| event.code.as_str()).collect();
    codes.dedup();
    codes
}
