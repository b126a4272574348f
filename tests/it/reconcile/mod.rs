//! The reconciler on real services, without the API: its commits, and its external effects.

mod budgets;
mod builds;
mod cancel;
mod code_deploy;
mod database_refusal;
pub mod deploy_source;
mod dockerfiles;
pub mod duplicate_executions;
pub mod ecs_rollouts;
mod event_bus;
pub mod failures;
mod fetches;
mod flow;
mod freezes;
pub mod gates;
mod health_checks;
mod held_commit;
pub mod histories;
mod limits;
mod listener_guard;
mod missing_link;
mod noisy_neighbours;
mod outage;
mod push;
mod queue;
mod records;
mod removed_connections;
mod renewed_connections;
mod replays;
mod retry;
mod retry_push;
mod rollback;
pub mod rollouts;
mod status_queue;
pub mod takeover;
mod throttling;
mod unreported_rollouts;
mod watch;

use panda::commands::CommandError;
use panda::commands::deploy::{self, CreatedDeployment};
use panda::commands::idempotency::Idempotent;
use panda::db::deployments::DeploymentView;
use panda::db::deployments::NewDeployment;
use panda::domain::StoredEvent;
use panda::domain::connection::{AwsConnection, AwsCredentials, GithubConnection};
use panda::domain::deployment::Concurrency;
use panda::domain::ids;
use panda::domain::principal::Caller;
use panda::domain::request::Requested;
use panda::steps::FIRST_STEP;
use secrecy::SecretString;

use crate::support::environment::{Environment, OWNER, TOKEN, keys};
pub use crate::support::replica::Replica;
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

/// Outcome of the command deploy.
pub type Created = Result<CreatedDeployment, CommandError>;

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
    created.unwrap();
    id
}

/// Stores connections to the environment's repository and account, as the API would.
pub async fn connect(env: &Environment, branch: &str, token: &str) -> (GithubConnection, AwsConnection) {
    let db = &env.db.db;
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
        credentials: AwsCredentials::Keys(keys(env.sandbox.user_credentials())),
        rule_target_role_arn: None,
    };
    db.insert_github_connection(&github).await.unwrap();
    db.insert_aws_connection(&aws).await.unwrap();
    (github, aws)
}

/// Creates the requested deployment.
pub async fn deploy_what(env: &Environment, requested: Requested) -> String {
    let (id, created) = create_requested(env, requested, TOKEN, Concurrency::Reject).await;
    created.unwrap();
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
        caused_by: None,
        freeze_override: None,
        trace: None,
        concurrency,
    };
    let created = deploy::deploy(db, &new, None, &Caller::local(), |_| serde_json::Value::Null).await;
    let created = created.map(|outcome| match outcome {
        Idempotent::Fresh(made) => made,
        Idempotent::Replayed(answer) => panic!("without a key: {answer}"),
    });
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
