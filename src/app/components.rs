//! Constructs each component of the server from its settings.

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use tokio::sync::{Notify, Semaphore};
use url::Url;

use super::AppError;
use crate::background::{Retention, RetentionContext};
use crate::bounded;
use crate::clients::aws::{Aws, AwsSettings};
use crate::clients::builder::Builder;
use crate::clients::builder_address::BuilderAddress;
use crate::clients::builder_pool::{BuilderPool, PooledBuilder};
use crate::clients::docker::{BuildLimits, Docker};
use crate::clients::gates::GateClient;
use crate::clients::git::{Git, GitLimits};
use crate::clients::github::GitHub;
use crate::clients::probe::Probe;
use crate::clients::receivers::ReceiverClients;
use crate::clients::registry_logins::RegistryLogins;
use crate::config::{AwsConfig, BuildConfig, Config, DatabaseConfig};
use crate::db::connect::Access;
use crate::db::{Class, Db, DbError, DbOptions};
use crate::domain::api_quota::ApiQuotas;
use crate::domain::builder::{BuilderKind, parse_builders};
use crate::domain::connection::AwsKeys;
use crate::domain::database::{AddressSource, PasswordTokens};
use crate::domain::destination::Destinations;
use crate::domain::health_check::HealthCheck;
use crate::domain::keyring::Keyring;
use crate::domain::names::Names;
use crate::domain::preflight::PreflightSettings;
use crate::metrics::{AwsCalls, Metrics};
use crate::reconcile::{Notifier, Reconciler, ReconcilerOptions};
use crate::steps::{Services, Settings};

/// Time limit for obtaining the AWS credentials that sign a command's database token.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(15);

/// Creates the AWS clients. `controller` are the keys of the controller's account, which only the sandbox sets; otherwise the SDK's default chain applies.
/// `controller_roles` are the roles of the controller's account that users may connect.
pub async fn aws(
    config: &AwsConfig,
    codedeploy_endpoint: Option<Url>,
    controller: Option<AwsKeys>,
    controller_roles: Vec<String>,
    calls: AwsCalls,
) -> Aws {
    Aws::new(AwsSettings {
        endpoint_url: config.aws_endpoint.clone(),
        codedeploy_endpoint_url: codedeploy_endpoint,
        controller_region: config.controller_region.clone(),
        controller_credentials: controller,
        operation_timeout: config.aws_timeout,
        controller_roles,
        quotas: ApiQuotas::new(config.aws_quotas.clone()),
        calls,
    })
    .await
}

/// Parses the encryption keys from the configured file or from `PANDA_KEYS`. KMS keys are used through `aws`.
pub fn keyring(config: &DatabaseConfig, aws: &Aws) -> Result<Keyring, AppError> {
    let (text, from) = match &config.key_file {
        Some(path) => {
            let unreadable = |error| AppError::Keys { problem: format!("{} cannot be read: {error}", path.display()) };
            (bounded::text_file(path).map_err(unreadable)?, path.display().to_string())
        }
        None => (std::env::var("PANDA_KEYS").unwrap_or_default(), "PANDA_KEYS".to_owned()),
    };
    Keyring::parse(&SecretString::from(text), &|arn| Arc::new(aws.kms_key(arn)))
        .map_err(|error| AppError::Keys { problem: format!("{from}: {error}") })
}

/// Creates the server's connection pools. They connect on first use.
pub fn database(config: &Config, aws: &Aws) -> Result<Db, AppError> {
    let database = &config.database;
    let keyring = Some(Arc::new(keyring(database, aws)?));
    let access = Access { direct: database.direct_source(), tokens: tokens(database, aws), tested: true };
    Ok(Db::new(&db_options(database, database.source(), access, keyring))?)
}

/// Creates the connection pool of a short command. It bypasses a connection pooler if the configuration has a direct address of Postgres.
pub async fn command_database(config: &DatabaseConfig, keyring: Option<Arc<Keyring>>) -> Result<Db, DbError> {
    let tokens = if config.database_iam {
        let (aws_timeout, aws_quotas) = (TOKEN_TIMEOUT, Vec::new());
        let settings = AwsConfig { aws_endpoint: None, controller_region: None, aws_timeout, aws_quotas };
        tokens(config, &aws(&settings, None, None, Vec::new(), AwsCalls::default()).await)
    } else {
        None
    };
    let source = config.direct_source().unwrap_or_else(|| config.source());
    Db::new(&db_options(config, source, Access { direct: None, tokens, tested: true }, keyring))
}

fn db_options(config: &DatabaseConfig, url: AddressSource, access: Access, keyring: Option<Arc<Keyring>>) -> DbOptions {
    DbOptions {
        url,
        access,
        max_connections: config.database_max_connections,
        acquire_timeout: config.database_acquire_timeout,
        keyring,
    }
}

fn tokens(config: &DatabaseConfig, aws: &Aws) -> Option<Arc<dyn PasswordTokens>> {
    config.database_iam.then(|| Arc::new(aws.rds_tokens(config.database_iam_region.clone())) as Arc<dyn PasswordTokens>)
}

/// Creates the clients and settings of the steps. `controller` are the keys of the controller's AWS account, which only the sandbox sets; otherwise
/// the SDK's default chain applies.
pub async fn services(config: &Config, controller: Option<AwsKeys>, metrics: &Metrics) -> Result<Services, AppError> {
    let (outside, times) = (&config.external, &config.reconcile);
    let roles = config.http.controller_roles.clone();
    let aws = aws(&outside.aws, outside.codedeploy_endpoint.clone(), controller, roles, metrics.aws.clone()).await;
    let destinations = Destinations::new(outside.health_allow.clone(), outside.health_refuse.clone());
    let github = GitHub::new(outside.github_api.clone(), outside.aws.aws_timeout)?;
    let docker = Docker::connect(outside.docker_host.as_deref())?.with_tls(outside.docker_cert_path.as_deref())?;
    let build = &config.build;
    let builders = builders(build, &docker, metrics)?;
    let status_queue = outside.status_queue_url.as_ref().map(|url| aws.status_queue(url));
    Ok(Services {
        aws,
        status_queue,
        builders,
        docker,
        registry_logins: RegistryLogins::new(build.registry_auth_file.clone())?,
        git: Git::new(GitLimits {
            max_bytes: usize::try_from(outside.source_max_bytes).unwrap_or(usize::MAX),
            max_files: usize::try_from(outside.source_max_files).unwrap_or(usize::MAX),
            max_file_bytes: usize::try_from(outside.source_max_file_bytes).unwrap_or(usize::MAX),
            ..GitLimits::default()
        })
        .with_program(outside.source_program.clone()),
        probe: Probe::new(times.health_timeout, destinations.clone())?,
        gates: GateClient::new(times.health_timeout, destinations.clone())?,
        receivers: ReceiverClients::new(destinations, github.clone(), outside.public_url.clone())?,
        github,
        names: Names::from(&config.names),
        settings: Settings {
            event_bus: outside.event_bus.clone(),
            bus_policy: outside.bus_policy,
            bus_organization: outside.bus_organization.clone(),
            rule_target_role_arn: outside.rule_target_role_arn.clone(),
            github_url: outside.github_url.clone(),
            workspace_dir: outside.workspace_dir.clone(),
            build_network: outside.build_network.clone(),
            build_limits: BuildLimits {
                memory_bytes: Some(u64::from(outside.build_memory) << 20).filter(|bytes| *bytes > 0),
                cpu_millis: outside.build_cpus,
                output_bytes: usize::try_from(outside.build_max_output).unwrap_or(usize::MAX),
                image_bytes: outside.image_max_bytes,
                ulimits: build.build_ulimits.clone(),
                cgroup_parent: build.build_cgroup_parent.clone(),
            },
            build_cache: build.build_cache,
            poll_interval: times.poll_interval,
            follow_limit: times.follow_limit,
            execution_wait: times.execution_wait,
            build_limit: times.build_limit,
            push_limit: times.push_limit,
            switch_limit: times.switch_limit,
            listener_guard: times.listener_guard,
            keep_releases: config.retention.keep_releases,
            watch_interval: times.watch_interval,
            step_limit: times.step_limit,
            deployment_limit: times.deployment_limit,
            health_check: HealthCheck {
                paths: times.health_path.clone().map_or_else(|| HealthCheck::default().paths, |path| vec![path]),
                codes: times.health_codes.clone(),
                count: times.health_count,
                interval: times.health_interval,
                host: None,
                skip: false,
            },
        },
    })
}

/// Returns the settings that decide what a deployment needs.
pub fn preflight_settings(services: &Services) -> PreflightSettings {
    let settings = &services.settings;
    PreflightSettings {
        event_bus: settings.event_bus.clone(),
        bus_policy: settings.bus_policy,
        bus_organization: settings.bus_organization.clone(),
        rule_target_role_arn: settings.rule_target_role_arn.clone(),
        has_status_queue: services.status_queue.is_some(),
        keep_releases: settings.keep_releases,
    }
}

/// Creates the builders in the configured file, or the default builder.
fn builders(config: &BuildConfig, docker: &Docker, metrics: &Metrics) -> Result<BuilderPool, AppError> {
    let of = |name: &str, docker: Docker, remote: Option<BuilderAddress>| {
        Builder::new(name, docker, remote, config.builder, metrics.builds.clone())
            .with_frontends(&config.build_frontends)
    };
    let Some(path) = &config.builders else {
        let remote =
            config.buildkit.clone().map(|host| BuilderAddress { host, certs: config.buildkit_cert_path.clone() });
        let default = of("default", docker.clone(), remote);
        return Ok(BuilderPool::new(vec![PooledBuilder::new(default, None, Semaphore::MAX_PERMITS)]));
    };
    let wrong = |problem: String| AppError::Builders { problem: format!("{}: {problem}", path.display()) };
    let file = bounded::text_file(path).map_err(|error| wrong(error.to_string()))?;
    let mut pool = Vec::new();
    for named in parse_builders(&file).map_err(wrong)? {
        let builder = match named.kind {
            BuilderKind::BuildKit => {
                let address = BuilderAddress { host: named.endpoint, certs: named.cert_path };
                of(&named.name, docker.clone(), Some(address))
            }
            BuilderKind::Docker => {
                let engine = Docker::connect(Some(&named.endpoint))?.with_tls(named.cert_path.as_deref())?;
                of(&named.name, engine, None)
            }
        };
        pool.push(PooledBuilder::new(builder, named.scope, named.permits));
    }
    Ok(BuilderPool::new(pool))
}

/// Creates the reconciler, which starts with its `run`.
pub fn reconciler(
    config: &Config,
    db: Db,
    services: Arc<Services>,
    notifier: Notifier,
    metrics: Metrics,
) -> Reconciler {
    let times = &config.reconcile;
    services.aws.share_budgets(Arc::new(db.of(Class::Reconcile).api_budgets()));
    let options = ReconcilerOptions {
        name: replica_name(),
        lease: times.lease,
        max_deployments: usize::try_from(times.max_deployments).unwrap_or(usize::MAX),
        max_builds: usize::try_from(times.max_builds).unwrap_or(usize::MAX),
        build_drain: times.build_drain,
    };
    Reconciler::new(db, services, notifier, metrics, options)
}

/// Returns the replica's name, `HOST/PID`.
pub fn replica_name() -> String {
    let host =
        nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_else(|| "unknown".into());
    format!("{host}/{}", std::process::id())
}

/// Builds the retention of `config`. Notify `requested` after a run was requested.
pub fn retention(config: &Config, db: Db, docker: Docker, metrics: Metrics, requested: Arc<Notify>) -> Retention {
    Retention::new(RetentionContext {
        db,
        docker,
        workspace_dir: config.external.workspace_dir.clone(),
        metrics,
        replica: replica_name(),
        rules: Arc::new(config.retention.rules()),
        keep_releases: config.retention.keep_releases,
        requested,
    })
}
