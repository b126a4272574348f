//! Configuration: flags and `PANDA_…` variables, typed, validated at start, secrets redacted in `Debug`.
#![allow(
    rustdoc::bare_urls,
    reason = "what is written above an option is its help text, where angle brackets would be seen"
)]

mod auth;
mod build;
mod http;
mod retention;
mod values;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use secrecy::SecretString;
use url::Url;

use crate::domain::database::Source;
use crate::domain::names::Names;
use crate::domain::network::Network;
pub use auth::{AuthConfig, AuthMode};
pub use build::BuildConfig;
pub use http::{ForwardedHeader, HttpConfig, TlsFiles};
pub use retention::RetentionConfig;
use values::{cpu_millis, http_url, lease, mebibytes, millis, postgres_url, private_url, template};

/// What `panda serve` needs to know.
#[derive(Args, Clone, Debug)]
pub struct Config {
    /// Where the database is.
    #[command(flatten)]
    pub database: DatabaseConfig,
    /// The API.
    #[command(flatten)]
    pub http: HttpConfig,
    /// Who may use it.
    #[command(flatten)]
    pub auth: AuthConfig,
    /// The outside.
    #[command(flatten)]
    pub outside: OutsideConfig,
    /// How images are built.
    #[command(flatten)]
    pub build: BuildConfig,
    /// Times and limits of the reconciler.
    #[command(flatten)]
    pub reconcile: ReconcileConfig,
    /// What is removed with time.
    #[command(flatten)]
    pub retention: RetentionConfig,
    /// Names in AWS.
    #[command(flatten)]
    pub names: NamesConfig,
}

/// The database.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Database")]
pub struct DatabaseConfig {
    /// Postgres to keep the state in, as postgres://user:password@host:port/database; several hosts are separated by commas
    #[arg(long, env = "PANDA_DATABASE_URL", hide_env_values = true, value_name = "URL", value_parser = postgres_url, required_unless_present = "database_url_file")]
    pub database_url: Option<SecretString>,
    /// File with that address, read again when the password is refused or the file changes
    #[arg(long, env = "PANDA_DATABASE_URL_FILE", value_name = "FILE", conflicts_with = "database_url")]
    pub database_url_file: Option<PathBuf>,
    /// Address that leads to Postgres itself, for notifications and migrations, where the other one leads to a connection pooler in transaction mode
    #[arg(long, env = "PANDA_DATABASE_DIRECT_URL", hide_env_values = true, value_name = "URL", value_parser = postgres_url)]
    pub database_direct_url: Option<SecretString>,
    /// File with that address
    #[arg(long, env = "PANDA_DATABASE_DIRECT_URL_FILE", value_name = "FILE", conflicts_with = "database_direct_url")]
    pub database_direct_url_file: Option<PathBuf>,
    /// Sign in to RDS or Aurora with tokens of IAM instead of a password, with the credentials of the controller
    #[arg(long, env = "PANDA_DATABASE_IAM", default_value_t = false, num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub database_iam: bool,
    /// Region of that database; that of its host name when absent, or the controller's
    #[arg(long, env = "PANDA_DATABASE_IAM_REGION", value_name = "REGION")]
    pub database_iam_region: Option<String>,
    /// Most connections to Postgres, beside two that listen; each class of work has a share of its own (docs/operations.md)
    #[arg(long, env = "PANDA_DATABASE_MAX_CONNECTIONS", value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(10..=1000))]
    pub database_max_connections: u32,
    /// Milliseconds to wait for a connection before answering 503
    #[arg(long = "database-acquire-timeout-ms", env = "PANDA_DATABASE_ACQUIRE_TIMEOUT_MS", value_name = "MS", default_value = "3000", value_parser = millis)]
    pub database_acquire_timeout: Duration,
    /// File with the keys that seal stored secrets, one a line, ID:KEY or ID:ARN of KMS; the first seals, all open. `panda keys generate` makes one
    #[arg(long, env = "PANDA_KEY_FILE", value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// Bring the schema up to date at start (safe with several replicas); without it, run `panda migrate` first
    #[arg(long, env = "PANDA_MIGRATE", default_value_t = false, num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub migrate: bool,
}

impl DatabaseConfig {
    /// Where the address comes from.
    pub fn source(&self) -> Source {
        let none = SecretString::default();
        source(self.database_url.as_ref(), self.database_url_file.as_ref())
            // One of them is required.
            .unwrap_or(Source::Url(none))
    }

    /// The same of the direct address.
    pub fn direct_source(&self) -> Option<Source> {
        source(self.database_direct_url.as_ref(), self.database_direct_url_file.as_ref())
    }
}

fn source(url: Option<&SecretString>, file: Option<&PathBuf>) -> Option<Source> {
    url.cloned().map(Source::Url).or_else(|| file.cloned().map(Source::File))
}

/// How AWS is reached.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Outside services")]
pub struct AwsConfig {
    /// AWS endpoint for every service, for a sandbox; the real ones by default
    #[arg(long, env = "PANDA_AWS_ENDPOINT", value_name = "URL", value_parser = http_url)]
    pub aws_endpoint: Option<Url>,
    /// Region of the controller's own account (event bus, Step Functions, secret); the SDK's default chain when absent
    #[arg(long, env = "PANDA_CONTROLLER_REGION", value_name = "REGION")]
    pub controller_region: Option<String>,
    /// Milliseconds after which a call to AWS is given up
    #[arg(long = "aws-timeout-ms", env = "PANDA_AWS_TIMEOUT_MS", value_name = "MS", default_value = "15000", value_parser = millis)]
    pub aws_timeout: Duration,
}

/// The outside.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Outside services")]
pub struct OutsideConfig {
    /// AWS.
    #[command(flatten)]
    pub aws: AwsConfig,
    /// AWS endpoint for CodeDeploy alone, for a sandbox
    #[arg(long, env = "PANDA_CODEDEPLOY_ENDPOINT", value_name = "URL", value_parser = http_url)]
    pub codedeploy_endpoint: Option<Url>,
    /// The controller's event bus that receives the push events
    #[arg(long, env = "PANDA_EVENT_BUS", value_name = "NAME", default_value = "default")]
    pub event_bus: String,
    /// Role in the user's account that EventBridge assumes to put events on the controller's bus, when its bus policy is not enough
    #[arg(long, env = "PANDA_RULE_TARGET_ROLE_ARN", value_name = "ARN")]
    pub rule_target_role_arn: Option<String>,
    /// GitHub's API
    #[arg(long, env = "PANDA_GITHUB_API", value_name = "URL", default_value = "https://api.github.com", value_parser = private_url)]
    pub github_api: Url,
    /// Where repositories are cloned from: {this}/{owner}/{repo}.git
    #[arg(long, env = "PANDA_GITHUB_URL", value_name = "URL", default_value = "https://github.com", value_parser = private_url)]
    pub github_url: Url,
    /// Most bytes of a repository's newest commit, as it is received and as its files are unpacked
    #[arg(long, env = "PANDA_SOURCE_MAX_BYTES", value_name = "BYTES", default_value_t = 2 << 30, value_parser = clap::value_parser!(u64).range(1_000..=1 << 40))]
    pub source_max_bytes: u64,
    /// Most files and folders of a repository's newest commit
    #[arg(long, env = "PANDA_SOURCE_MAX_FILES", value_name = "N", default_value_t = 200_000, value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    pub source_max_files: u32,
    /// Most bytes of one file of a repository; a fetch may use twice as much memory, and 128 MiB more
    #[arg(long, env = "PANDA_SOURCE_MAX_FILE_BYTES", value_name = "BYTES", default_value_t = 128 << 20, value_parser = clap::value_parser!(u64).range(1_000..=1 << 40))]
    pub source_max_file_bytes: u64,
    /// The `panda` that fetches repositories, for tests, whose own program is another one.
    #[arg(long, hide = true, value_name = "FILE")]
    pub source_program: Option<PathBuf>,
    /// Networks that health checks may reach although these are refused: loopback, link-local, metadata services, multicast, reserved
    #[arg(long, env = "PANDA_HEALTH_ALLOW", value_name = "NETWORK,…", value_delimiter = ',')]
    pub health_allow: Vec<Network>,
    /// Networks that health checks may not reach beside those; of all networks that hold an address the smallest decides
    #[arg(long, env = "PANDA_HEALTH_REFUSE", value_name = "NETWORK,…", value_delimiter = ',')]
    pub health_refuse: Vec<Network>,
    /// The Docker engine that builds; DOCKER_HOST or the usual sockets when absent
    #[arg(long, env = "PANDA_DOCKER_HOST", value_name = "HOST")]
    pub docker_host: Option<String>,
    /// Folder with ca.pem, cert.pem and key.pem, with which the engine at tcp:// is spoken to over TLS; DOCKER_CERT_PATH when absent and DOCKER_TLS_VERIFY is set
    #[arg(long, env = "PANDA_DOCKER_CERT_PATH", value_name = "FOLDER", requires = "docker_host")]
    pub docker_cert_path: Option<PathBuf>,
    /// Network mode of builds (host, none, …); the engine's default when absent
    #[arg(long, env = "PANDA_BUILD_NETWORK", value_name = "MODE")]
    pub build_network: Option<String>,
    /// Mebibytes of memory that a step of a build may use, swap included; 0 is no limit
    #[arg(long, env = "PANDA_BUILD_MEMORY", value_name = "MIB", default_value_t = 4_096, value_parser = mebibytes)]
    pub build_memory: u32,
    /// Processors that a step of a build may use, such as 1.5; all when absent
    #[arg(long, env = "PANDA_BUILD_CPUS", value_name = "N", value_parser = cpu_millis)]
    pub build_cpus: Option<u32>,
    /// Most bytes of a build's output that are kept as events, each line counted with 64 more; the build goes on
    #[arg(long, env = "PANDA_BUILD_MAX_OUTPUT", value_name = "BYTES", default_value_t = 4 << 20, value_parser = clap::value_parser!(u32).range(1_000..=1 << 30))]
    pub build_max_output: u32,
    /// Most bytes of an image, its layers unpacked; a larger one is not pushed
    #[arg(long, env = "PANDA_IMAGE_MAX_BYTES", value_name = "BYTES", default_value_t = 10 << 30)]
    pub image_max_bytes: u64,
    /// Folder for checked-out sources; each is removed when it is no longer needed
    #[arg(long, env = "PANDA_WORKSPACE_DIR", value_name = "FOLDER", default_value_os_t = default_workspace_dir())]
    pub workspace_dir: PathBuf,
}

/// Times and limits of the reconciler.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Reconciler")]
pub struct ReconcileConfig {
    /// Milliseconds between two looks at an execution
    #[arg(long = "poll-interval-ms", env = "PANDA_POLL_INTERVAL_MS", value_name = "MS", default_value = "2000", value_parser = millis)]
    pub poll_interval: Duration,
    /// Milliseconds after which a followed execution counts as failed
    #[arg(long = "follow-limit-ms", env = "PANDA_FOLLOW_LIMIT_MS", value_name = "MS", default_value = "1800000", value_parser = millis)]
    pub follow_limit: Duration,
    /// Milliseconds after the push in which the execution's ARN must appear
    #[arg(long = "execution-wait-ms", env = "PANDA_EXECUTION_WAIT_MS", value_name = "MS", default_value = "10000", value_parser = millis)]
    pub execution_wait: Duration,
    /// Milliseconds that building an image may take
    #[arg(long = "build-limit-ms", env = "PANDA_BUILD_LIMIT_MS", value_name = "MS", default_value = "1800000", value_parser = millis)]
    pub build_limit: Duration,
    /// Milliseconds that pushing an image may take, with every renewed login and resumed upload
    #[arg(long = "push-limit-ms", env = "PANDA_PUSH_LIMIT_MS", value_name = "MS", default_value = "1800000", value_parser = millis)]
    pub push_limit: Duration,
    /// Milliseconds that the traffic may take to shift
    #[arg(long = "switch-limit-ms", env = "PANDA_SWITCH_LIMIT_MS", value_name = "MS", default_value = "1800000", value_parser = millis)]
    pub switch_limit: Duration,
    /// Milliseconds that any other step may take, waiting for something that is away included
    #[arg(long = "step-limit-ms", env = "PANDA_STEP_LIMIT_MS", value_name = "MS", default_value = "600000", value_parser = millis)]
    pub step_limit: Duration,
    /// Milliseconds that a whole attempt may take until it is ready for the switch, whatever its steps may; waiting for its turn does not count
    #[arg(long = "deployment-limit-ms", env = "PANDA_DEPLOYMENT_LIMIT_MS", value_name = "MS", default_value = "1800000", value_parser = millis)]
    pub deployment_limit: Duration,
    /// Milliseconds between two health checks of green
    #[arg(long = "health-interval-ms", env = "PANDA_HEALTH_INTERVAL_MS", value_name = "MS", default_value = "2000", value_parser = millis)]
    pub health_interval: Duration,
    /// Milliseconds after which one health check request is given up
    #[arg(long = "health-timeout-ms", env = "PANDA_HEALTH_TIMEOUT_MS", value_name = "MS", default_value = "5000", value_parser = millis)]
    pub health_timeout: Duration,
    /// Builds that one replica runs at once
    #[arg(long, env = "PANDA_MAX_BUILDS", value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub max_builds: u32,
    /// Deployments that one replica advances at once
    #[arg(long, env = "PANDA_MAX_DEPLOYMENTS", value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub max_deployments: u32,
    /// Milliseconds without a sign of life after which other replicas take over
    #[arg(long = "lease-ms", env = "PANDA_LEASE_MS", value_name = "MS", default_value = "3500", value_parser = lease)]
    pub lease: Duration,
}

/// Names in AWS: `{owner}` and `{repo}` are replaced, in lower case.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Names in AWS ({owner} and {repo} are replaced)")]
pub struct NamesConfig {
    /// ECR repository
    #[arg(long, env = "PANDA_ECR_REPOSITORY", value_name = "TEMPLATE", default_value = "{owner}-{repo}", value_parser = template)]
    pub ecr_repository: String,
    /// EventBridge rule; a short hash is appended
    #[arg(long, env = "PANDA_RULE_NAME", value_name = "TEMPLATE", default_value = "panda-ecr-push-{owner}-{repo}", value_parser = template)]
    pub rule_name: String,
    /// Secret with the ARN of the latest execution
    #[arg(long, env = "PANDA_SECRET_NAME", value_name = "TEMPLATE", default_value = "panda/stepfunctions/{owner}-{repo}-latest-execution", value_parser = template)]
    pub secret_name: String,
    /// State that makes sure of the infrastructure
    #[arg(long, env = "PANDA_STATE_ENSURE_INFRA", value_name = "NAME", default_value = "EnsureInfra")]
    pub state_ensure_infra: String,
    /// State that registers the task and starts the blue/green deployment
    #[arg(long, env = "PANDA_STATE_REGISTER", value_name = "NAME", default_value = "RegisterTaskAndDeploy")]
    pub state_register: String,
    /// State whose exit waits for approval
    #[arg(long, env = "PANDA_STATE_CHECK", value_name = "NAME", default_value = "CheckDeployment")]
    pub state_check: String,
}

impl From<&NamesConfig> for Names {
    fn from(config: &NamesConfig) -> Self {
        Self {
            ecr_repository: config.ecr_repository.clone(),
            rule: config.rule_name.clone(),
            secret: config.secret_name.clone(),
            ensure_infra_state: config.state_ensure_infra.clone(),
            register_state: config.state_register.clone(),
            check_state: config.state_check.clone(),
        }
    }
}

/// Below the system's folder for temporary files, so that an unprivileged start works at once.
fn default_workspace_dir() -> PathBuf {
    std::env::temp_dir().join("panda-workspaces")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::catalogue::Lang;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        config: Config,
    }

    const DB: &str = "--database-url=postgres://panda:hunter2@db/panda";

    #[test]
    fn the_defaults_are_those_of_the_contract() {
        let config = Cli::try_parse_from(["panda", DB]).unwrap().config;
        assert_eq!(config.reconcile.poll_interval, Duration::from_secs(2));
        assert_eq!(config.reconcile.follow_limit, Duration::from_mins(30));
        assert_eq!(config.reconcile.execution_wait, Duration::from_secs(10));
        assert_eq!(config.reconcile.deployment_limit, Duration::from_mins(30));
        assert_eq!(config.http.language, Lang::Ko);
    }

    #[test]
    fn a_wrong_value_is_named_with_its_remedy() {
        let refused = |arg: &str| Cli::try_parse_from(["panda", DB, arg]).unwrap_err().to_string();
        assert!(refused("--poll-interval-ms=0").contains("--poll-interval-ms"));
        assert!(refused("--cors-origins=https://a.example/path").contains("https://a.example"));
        assert!(refused("--aws-endpoint=ftp://x").contains("http://"));
        assert!(refused("--github-url=http://git.example.com").contains("https://"));
        assert!(refused("--github-api=http://10.0.0.1").contains("https://"));
        assert!(refused("--build-memory=5").contains("4096"));
        assert!(refused("--build-cpus=0").contains("1.5") && refused("--build-cpus=NaN").contains("1.5"));
        assert!(refused("--secret-name=fixed").contains("{owner}"));
        assert!(refused("--lease-ms=10").contains("1000"));
    }

    #[test]
    fn the_password_is_not_in_debug() {
        let config = Cli::try_parse_from(["panda", DB]).unwrap().config;
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
