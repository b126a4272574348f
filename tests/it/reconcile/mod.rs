//! The reconciler on real parts, without the API: what it commits, and what it does to the outside.

mod builds;
mod cancel;
mod failures;
mod fetches;
mod flow;
mod held;
mod limits;
mod neighbours;
mod outage;
mod push;
mod records;
mod refusal;
mod renewed;
mod retry;
mod sources;
pub mod takeover;
mod turns;
pub mod what;

use std::sync::Arc;

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

use crate::support::wait_for;
use crate::support::world::{OWNER, TOKEN, World};

/// A reconciler that runs until it is stopped, on threads and connections of its own, as a process has them.
pub struct Replica {
    stop: CancellationToken,
    runtime: Option<Runtime>,
    task: JoinHandle<()>,
}

impl Replica {
    /// Starts one in `world` with further flags.
    pub fn start(world: &World, flags: &[&str]) -> Self {
        let (config, controller) = (world.config(flags), world.controller());
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = runtime.spawn(async move {
            let services =
                Arc::new(panda::app::services(&config, Some(controller), &Metrics::default()).await.unwrap());
            let db = panda::app::database(&config, &services.aws).unwrap();
            panda::app::reconciler(&config, db, services, Notifier::new(|_| {}), Metrics::default()).run(stopped).await;
        });
        Self { stop, runtime: Some(runtime), task }
    }

    /// Ends it where it stands: nothing is given back, nobody says good-bye.
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
        // A runtime may not wait for its threads inside another one.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A new deployment of the world's repository, as the API would make it.
pub async fn deploy(world: &World, branch: &str) -> String {
    deploy_with_token(world, branch, TOKEN).await
}

/// The same on `main`, for whatever is asked for when the target is taken; its id and what became of it.
pub async fn deploy_as(world: &World, concurrency: Concurrency) -> (String, Created) {
    create(world, "main", TOKEN, concurrency).await
}

/// The same with another token for the source.
pub async fn deploy_with_token(world: &World, branch: &str, token: &str) -> String {
    let (id, created) = create(world, branch, token, Concurrency::Reject).await;
    assert!(matches!(created, Created::New(_)), "{created:?}");
    id
}

/// Connections to the world's repository and account, as the API would store them.
pub async fn connect(world: &World, branch: &str, token: &str) -> (GithubConnection, AwsConnection) {
    let db = &world.db.db;
    let keys = world.sandbox.user_credentials();
    let github = GithubConnection {
        id: ids::github_connection_id(),
        owner: OWNER.into(),
        repo: world.repo.clone(),
        branch: branch.into(),
        token: SecretString::from(token),
        build_secrets: std::collections::BTreeMap::new(),
    };
    let aws = AwsConnection {
        id: ids::aws_connection_id(),
        region: world.sandbox.region().into(),
        account_id: world.sandbox.user_account_id().into(),
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

/// A new deployment of what is asked for.
pub async fn deploy_what(world: &World, requested: Requested) -> String {
    let (id, created) = create_requested(world, requested, TOKEN, Concurrency::Reject).await;
    assert!(matches!(created, Created::New(_)), "{created:?}");
    id
}

async fn create(world: &World, branch: &str, token: &str, concurrency: Concurrency) -> (String, Created) {
    create_requested(world, Requested::branch(branch), token, concurrency).await
}

async fn create_requested(
    world: &World,
    requested: Requested,
    token: &str,
    concurrency: Concurrency,
) -> (String, Created) {
    let db = &world.db.db;
    let branch = requested.source.branch().unwrap_or("main");
    let (github, aws) = connect(world, branch, token).await;
    let new = NewDeployment {
        id: ids::deployment_id(),
        owner: OWNER.into(),
        repo: world.repo.clone(),
        requested,
        github_connection_id: github.id,
        aws_connection_id: aws.id,
        account_id: aws.account_id,
        region: aws.region,
        ecr_repository: world.ecr_repository(),
        first_step: FIRST_STEP.into(),
        trace: None,
        concurrency,
    };
    let created = db.create_deployment(&new, None, &Caller::local(), |_| serde_json::Value::Null).await.unwrap();
    db.notify_work(&new.id).await.unwrap();
    (new.id, created)
}

/// Waits until the deployment has one of `statuses`.
pub async fn status(world: &World, id: &str, statuses: &[&str]) -> DeploymentView {
    wait_for(&format!("{id} is one of {statuses:?}"), async || {
        let view = world.db.db.deployment(id).await.unwrap().unwrap();
        let failed = view.status == "FAILED" && !statuses.contains(&"FAILED");
        assert!(!failed, "it failed: {:?} {:?}", view.error_code, view.error_message);
        statuses.contains(&view.status.as_str()).then_some(view)
    })
    .await
}

/// All its events.
pub async fn events(world: &World, id: &str) -> Vec<StoredEvent> {
    world.db.db.events_after(id, 0, 10_000).await.unwrap()
}

/// Codes in order, runs of one code as one.
pub fn codes(events: &[StoredEvent]) -> Vec<&str> {
    let mut codes: Vec<&str> = events.iter().map(|event| event.code.as_str()).collect();
    codes.dedup();
    codes
}
