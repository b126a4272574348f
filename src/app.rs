//! Wiring and shutdown: the only place that knows every room.

use std::sync::Arc;

use crate::clients::ClientError;
use crate::clients::aws::{Aws, AwsSettings};
use crate::clients::docker::Docker;
use crate::clients::git::{Git, GitLimits};
use crate::clients::probe::Probe;
use crate::config::Config;
use crate::db::{Db, DbError, DbOptions};
use crate::domain::connection::AwsKeys;
use crate::domain::names::Names;
use crate::reconcile::{Notifier, Reconciler, ReconcilerOptions};
use crate::steps::{Services, Settings};

/// Why Panda did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The database.
    #[error(transparent)]
    Database(#[from] DbError),
    /// A client of the outside could not be set up.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// The database of `config`; connects when first used.
pub fn database(config: &Config) -> Result<Db, AppError> {
    let database = &config.database;
    Ok(Db::new(&DbOptions {
        url: database.database_url.clone(),
        max_connections: database.database_max_connections,
        acquire_timeout: database.database_acquire_timeout,
    })?)
}

/// Clients and settings of `config`. `controller` are the controller's own AWS keys, for the sandbox; the SDK's default chain
/// when absent.
pub async fn services(config: &Config, controller: Option<AwsKeys>) -> Result<Services, AppError> {
    let (outside, times) = (&config.outside, &config.reconcile);
    let aws = Aws::new(AwsSettings {
        endpoint_url: outside.aws_endpoint.clone(),
        codedeploy_endpoint_url: outside.codedeploy_endpoint.clone(),
        controller_region: outside.controller_region.clone(),
        controller_credentials: controller,
        operation_timeout: outside.aws_timeout,
    })
    .await;
    Ok(Services {
        aws,
        docker: Docker::connect(outside.docker_host.as_deref())?,
        git: Git::new(GitLimits::default()),
        probe: Probe::new(times.health_timeout)?,
        names: Names::from(&config.names),
        settings: Settings {
            event_bus: outside.event_bus.clone(),
            rule_target_role_arn: outside.rule_target_role_arn.clone(),
            github_url: outside.github_url.clone(),
            workspace_dir: outside.workspace_dir.clone(),
            build_network: outside.build_network.clone(),
            poll_interval: times.poll_interval,
            follow_limit: times.follow_limit,
            execution_wait: times.execution_wait,
            build_limit: times.build_limit,
            switch_limit: times.switch_limit,
            step_limit: times.step_limit,
            health_interval: times.health_interval,
        },
    })
}

/// The reconciler of `config`.
pub fn reconciler(config: &Config, db: Db, services: Arc<Services>, notifier: Notifier) -> Reconciler {
    let times = &config.reconcile;
    let host =
        nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_else(|| "unknown".into());
    let options = ReconcilerOptions {
        name: format!("{host}/{}", std::process::id()),
        lease: times.lease,
        max_deployments: usize::try_from(times.max_deployments).unwrap_or(usize::MAX),
        max_builds: usize::try_from(times.max_builds).unwrap_or(usize::MAX),
    };
    Reconciler::new(db, services, notifier, options)
}
