//! Configuration: flags and `PANDA_…` variables, typed, validated at start, secrets redacted in `Debug`.
#![allow(rustdoc::bare_urls, reason = "an option's doc comment is its help text, which would show the angle brackets")]

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

use crate::domain::api_quota::QuotaRule;
use crate::domain::bus_policy::BusPolicy;
use crate::domain::database::AddressSource;
use crate::domain::health_check::StatusCodes;
use crate::domain::names::Names;
use crate::domain::network::Network;
pub use auth::{AuthConfig, AuthMode};
pub use build::BuildConfig;
pub use http::{ForwardedHeader, HttpConfig, TlsFiles};
pub use retention::RetentionConfig;
use values::{
    bus_policy, cpu_millis, drain, health_path, http_url, lease, mebibytes, millis, organization, postgres_url,
    private_url, public_url, target_role, template,
};

/// Options of `panda serve`.
#[derive(Args, Clone, Debug)]
pub struct Config {
    /// Addresses, credentials and schema of the database.
    #[command(flatten)]
    pub database: DatabaseConfig,
    /// Listeners, limits and clients of the API.
    #[command(flatten)]
    pub http: HttpConfig,
    /// Authentication and approval of API callers.
    #[command(flatten)]
    pub auth: AuthConfig,
    /// Addresses and limits of external services.
    #[command(flatten)]
    pub external: ExternalConfig,
    /// Choice and limits of the image builder.
    #[command(flatten)]
    pub build: BuildConfig,
    /// Times and limits of the reconciler.
    #[command(flatten)]
    pub reconcile: ReconcileConfig,
    /// Retention periods and clean-up schedules.
    #[command(flatten)]
    pub retention: RetentionConfig,
    /// Names of resources in AWS.
    #[command(flatten)]
    pub names: NamesConfig,
}

/// Options of the database connection.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Database")]
pub struct DatabaseConfig {
    /// Address of the Postgres database, as postgres://user:password@host:port/database; separate several hosts by commas
    #[arg(long, env = "PANDA_DATABASE_URL", hide_env_values = true, value_name = "URL", value_parser = postgres_url, required_unless_present = "database_url_file")]
    pub database_url: Option<SecretString>,
    /// File with the database address; read again if Postgres refuses the password or the file changes
    #[arg(long, env = "PANDA_DATABASE_URL_FILE", value_name = "FILE", conflicts_with = "database_url")]
    pub database_url_file: Option<PathBuf>,
    /// Direct address of Postgres for notifications and migrations, if PANDA_DATABASE_URL is a connection pooler in transaction mode
    #[arg(long, env = "PANDA_DATABASE_DIRECT_URL", hide_env_values = true, value_name = "URL", value_parser = postgres_url)]
    pub database_direct_url: Option<SecretString>,
    /// File with the direct address
    #[arg(long, env = "PANDA_DATABASE_DIRECT_URL_FILE", value_name = "FILE", conflicts_with = "database_direct_url")]
    pub database_direct_url_file: Option<PathBuf>,
    /// Sign in to RDS or Aurora with IAM tokens instead of a password, using the controller's credentials
    #[arg(long, env = "PANDA_DATABASE_IAM", default_value_t = false, num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub database_iam: bool,
    /// Region of the RDS or Aurora database; by default the region in its host name, else the controller's
    #[arg(long, env = "PANDA_DATABASE_IAM_REGION", value_name = "REGION")]
    pub database_iam_region: Option<String>,
    /// Maximum number of connections to Postgres, in addition to two for notifications; each class of work has its own share (docs/operations.md)
    #[arg(long, env = "PANDA_DATABASE_MAX_CONNECTIONS", value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(10..=1000))]
    pub database_max_connections: u32,
    /// Time limit for getting a database connection before answering 503, in milliseconds
    #[arg(long = "database-acquire-timeout-ms", env = "PANDA_DATABASE_ACQUIRE_TIMEOUT_MS", value_name = "MS", default_value = "3000", value_parser = millis)]
    pub database_acquire_timeout: Duration,
    /// File with the keys that encrypt stored secrets, one per line, ID:KEY or ID:ARN of KMS; the first encrypts, all decrypt. `panda keys generate` creates one
    #[arg(long, env = "PANDA_KEY_FILE", value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// Migrate the schema at start (safe with several replicas); otherwise run `panda migrate` first
    #[arg(long, env = "PANDA_MIGRATE", default_value_t = false, num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub migrate: bool,
}

impl DatabaseConfig {
    /// Returns the source of the database address: the option itself or a file.
    pub fn source(&self) -> AddressSource {
        let none = SecretString::default();
        source(self.database_url.as_ref(), self.database_url_file.as_ref())
            // Unreachable: the command line requires one of the two.
            .unwrap_or(AddressSource::Url(none))
    }

    /// Returns the source of the direct address, if one is configured.
    pub fn direct_source(&self) -> Option<AddressSource> {
        source(self.database_direct_url.as_ref(), self.database_direct_url_file.as_ref())
    }
}

fn source(url: Option<&SecretString>, file: Option<&PathBuf>) -> Option<AddressSource> {
    url.cloned().map(AddressSource::Url).or_else(|| file.cloned().map(AddressSource::File))
}

/// Options of the AWS clients.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "External services")]
pub struct AwsConfig {
    /// AWS endpoint for every service, for a sandbox; by default the real ones
    #[arg(long, env = "PANDA_AWS_ENDPOINT", value_name = "URL", value_parser = http_url)]
    pub aws_endpoint: Option<Url>,
    /// Region of the controller's own account (event bus, Step Functions, secret); by default from the SDK's default chain
    #[arg(long, env = "PANDA_CONTROLLER_REGION", value_name = "REGION")]
    pub controller_region: Option<String>,
    /// Time limit of a call to AWS, in milliseconds
    #[arg(long = "aws-timeout-ms", env = "PANDA_AWS_TIMEOUT_MS", value_name = "MS", default_value = "15000", value_parser = millis)]
    pub aws_timeout: Duration,
    /// AWS quotas of calls per account and region that differ from the published ones: CALL=BURST/PER_SECOND or CALL=unlimited, such as states:GetExecutionHistory=800/40; CALL may be service:* or *
    #[arg(long, env = "PANDA_AWS_QUOTAS", value_name = "CALL=QUOTA,…", value_delimiter = ',')]
    pub aws_quotas: Vec<QuotaRule>,
}

/// Options of external services: AWS, GitHub, health checks and the Docker engine.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "External services")]
pub struct ExternalConfig {
    /// Options of the AWS clients.
    #[command(flatten)]
    pub aws: AwsConfig,
    /// AWS endpoint for CodeDeploy and its load balancers only, for a sandbox
    #[arg(long, env = "PANDA_CODEDEPLOY_ENDPOINT", value_name = "URL", value_parser = http_url)]
    pub codedeploy_endpoint: Option<Url>,
    /// Controller's event bus that receives the push events
    #[arg(long, env = "PANDA_EVENT_BUS", value_name = "NAME", default_value = "default")]
    pub event_bus: String,
    /// Policy of that event bus: accounts, organization (Panda writes a statement for each account, or one for the organization), or managed (only read)
    #[arg(long, env = "PANDA_BUS_POLICY", value_name = "MODE", default_value = "accounts", value_parser = bus_policy, requires_if("organization", "bus_organization"))]
    pub bus_policy: BusPolicy,
    /// AWS organization whose accounts the bus policy may permit as a whole
    #[arg(long, env = "PANDA_BUS_ORGANIZATION", value_name = "ID", value_parser = organization)]
    pub bus_organization: Option<String>,
    /// Role that EventBridge assumes to put events on that event bus, for connections without their own; {account} stands for the connection's account
    #[arg(long, env = "PANDA_RULE_TARGET_ROLE_ARN", value_name = "ARN", value_parser = target_role)]
    pub rule_target_role_arn: Option<String>,
    /// SQS queue that receives status events of ECS, CodeDeploy and Step Functions from EventBridge, as https://sqs.REGION.amazonaws.com/ACCOUNT/NAME: each event causes an early poll, which it never replaces
    #[arg(long, env = "PANDA_STATUS_QUEUE_URL", value_name = "URL", value_parser = private_url)]
    pub status_queue_url: Option<Url>,
    /// Address of GitHub's API
    #[arg(long, env = "PANDA_GITHUB_API", value_name = "URL", default_value = "https://api.github.com", value_parser = private_url)]
    pub github_api: Url,
    /// Base address to clone repositories from: {this}/{owner}/{repo}.git
    #[arg(long, env = "PANDA_GITHUB_URL", value_name = "URL", default_value = "https://github.com", value_parser = private_url)]
    pub github_url: Url,
    /// Maximum size of a repository's newest commit in bytes, both as received and with its files unpacked
    #[arg(long, env = "PANDA_SOURCE_MAX_BYTES", value_name = "BYTES", default_value_t = 2 << 30, value_parser = clap::value_parser!(u64).range(1_000..=1 << 40))]
    pub source_max_bytes: u64,
    /// Maximum number of files and folders of a repository's newest commit
    #[arg(long, env = "PANDA_SOURCE_MAX_FILES", value_name = "N", default_value_t = 200_000, value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    pub source_max_files: u32,
    /// Maximum size of one file of a repository in bytes; a fetch may use twice as much memory plus 128 MiB
    #[arg(long, env = "PANDA_SOURCE_MAX_FILE_BYTES", value_name = "BYTES", default_value_t = 128 << 20, value_parser = clap::value_parser!(u64).range(1_000..=1 << 40))]
    pub source_max_file_bytes: u64,
    /// Path of the `panda` program that fetches repositories. Tests set it, since their own program is the test binary.
    #[arg(long, hide = true, value_name = "FILE")]
    pub source_program: Option<PathBuf>,
    /// Address of this installation's web page, to which messages in channels link and GitHub leads back when it creates an App; without it there are no links and no such Apps
    #[arg(long, env = "PANDA_PUBLIC_URL", value_name = "URL", value_parser = public_url)]
    pub public_url: Option<Url>,
    /// Networks that health checks may reach although they are refused by default: loopback, link-local, metadata services, multicast, reserved
    #[arg(long, env = "PANDA_HEALTH_ALLOW", value_name = "NETWORK,…", value_delimiter = ',')]
    pub health_allow: Vec<Network>,
    /// Networks that health checks must not reach in addition to those refused by default; the smallest network that contains an address decides
    #[arg(long, env = "PANDA_HEALTH_REFUSE", value_name = "NETWORK,…", value_delimiter = ',')]
    pub health_refuse: Vec<Network>,
    /// Address of the Docker engine that builds; by default DOCKER_HOST or the usual sockets
    #[arg(long, env = "PANDA_DOCKER_HOST", value_name = "HOST")]
    pub docker_host: Option<String>,
    /// Folder with ca.pem, cert.pem and key.pem for TLS to an engine at tcp://; by default DOCKER_CERT_PATH if DOCKER_TLS_VERIFY is set
    #[arg(long, env = "PANDA_DOCKER_CERT_PATH", value_name = "FOLDER", requires = "docker_host")]
    pub docker_cert_path: Option<PathBuf>,
    /// Network mode of builds (host, none, …); by default the engine's
    #[arg(long, env = "PANDA_BUILD_NETWORK", value_name = "MODE")]
    pub build_network: Option<String>,
    /// Memory that a build step may use, including swap, in MiB; 0 for no limit
    #[arg(long, env = "PANDA_BUILD_MEMORY", value_name = "MIB", default_value_t = 4_096, value_parser = mebibytes)]
    pub build_memory: u32,
    /// Number of processors that a build step may use, such as 1.5; by default all
    #[arg(long, env = "PANDA_BUILD_CPUS", value_name = "N", value_parser = cpu_millis)]
    pub build_cpus: Option<u32>,
    /// Maximum size of a build's output kept as events, in bytes, with 64 more counted for each line; then the build continues without output events
    #[arg(long, env = "PANDA_BUILD_MAX_OUTPUT", value_name = "BYTES", default_value_t = 4 << 20, value_parser = clap::value_parser!(u32).range(1_000..=1 << 30))]
    pub build_max_output: u32,
    /// Maximum size of an image with its layers unpacked, in bytes; a larger image is not pushed
    #[arg(long, env = "PANDA_IMAGE_MAX_BYTES", value_name = "BYTES", default_value_t = 10 << 30)]
    pub image_max_bytes: u64,
    /// Folder for checked-out sources; Panda removes each source once no build needs it
    #[arg(long, env = "PANDA_WORKSPACE_DIR", value_name = "FOLDER", default_value_os_t = default_workspace_dir())]
    pub workspace_dir: PathBuf,
}

/// Times and limits of the reconciler.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Reconciler")]
pub struct ReconcileConfig {
    /// Interval between two polls of an execution, in milliseconds
    #[arg(long = "poll-interval-ms", env = "PANDA_POLL_INTERVAL_MS", value_name = "MS", default_value = "2000", value_parser = millis)]
    pub poll_interval: Duration,
    /// Time limit for following an execution, in milliseconds; then the deployment fails
    #[arg(long = "follow-limit-ms", env = "PANDA_FOLLOW_LIMIT_MS", value_name = "MS", default_value = "1800000", value_parser = millis)]
    pub follow_limit: Duration,
    /// Time limit for the execution's ARN to appear after the push, in milliseconds
    #[arg(long = "execution-wait-ms", env = "PANDA_EXECUTION_WAIT_MS", value_name = "MS", default_value = "10000", value_parser = millis)]
    pub execution_wait: Duration,
    /// Time limit for building an image, in milliseconds
    #[arg(long = "build-limit-ms", env = "PANDA_BUILD_LIMIT_MS", value_name = "MS", default_value = "1800000", value_parser = millis)]
    pub build_limit: Duration,
    /// Time limit for pushing an image, including renewed logins and resumed uploads, in milliseconds
    #[arg(long = "push-limit-ms", env = "PANDA_PUSH_LIMIT_MS", value_name = "MS", default_value = "1800000", value_parser = millis)]
    pub push_limit: Duration,
    /// Time limit for the traffic to shift, beyond the duration that CodeDeploy's configuration states, in milliseconds
    #[arg(long = "switch-limit-ms", env = "PANDA_SWITCH_LIMIT_MS", value_name = "MS", default_value = "1800000", value_parser = millis)]
    pub switch_limit: Duration,
    /// Look at the listener and green's targets before each switch; false where Panda has no way to the API of Elastic Load Balancing
    #[arg(long, env = "PANDA_LISTENER_GUARD", default_value_t = true, num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub listener_guard: bool,
    /// Interval between two comparisons with AWS of a deployment that awaits its switch, or whose blue is not terminated, in milliseconds
    #[arg(long = "watch-interval-ms", env = "PANDA_WATCH_INTERVAL_MS", value_name = "MS", default_value = "60000", value_parser = millis)]
    pub watch_interval: Duration,
    /// Time limit for any other step, including waits for an unavailable service, in milliseconds
    #[arg(long = "step-limit-ms", env = "PANDA_STEP_LIMIT_MS", value_name = "MS", default_value = "600000", value_parser = millis)]
    pub step_limit: Duration,
    /// Time limit for a whole attempt until it is ready for the switch, regardless of the limits of its steps, in milliseconds; time in the queue does not count
    #[arg(long = "deployment-limit-ms", env = "PANDA_DEPLOYMENT_LIMIT_MS", value_name = "MS", default_value = "1800000", value_parser = millis)]
    pub deployment_limit: Duration,
    /// Path of green's health checks, where neither the pipeline's output nor `panda.toml` sets one; `/health` and then `/` by default
    #[arg(long, env = "PANDA_HEALTH_PATH", value_name = "PATH", value_parser = health_path)]
    pub health_path: Option<String>,
    /// Status codes of a healthy green, such as `200-399,401`
    #[arg(long, env = "PANDA_HEALTH_CODES", value_name = "CODES", default_value = "200-399")]
    pub health_codes: StatusCodes,
    /// Number of health checks of green; it is unhealthy if more than two of five fail
    #[arg(long, env = "PANDA_HEALTH_COUNT", value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=20))]
    pub health_count: u32,
    /// Interval between two health checks of green, in milliseconds
    #[arg(long = "health-interval-ms", env = "PANDA_HEALTH_INTERVAL_MS", value_name = "MS", default_value = "2000", value_parser = millis)]
    pub health_interval: Duration,
    /// Time limit of one health check request, in milliseconds
    #[arg(long = "health-timeout-ms", env = "PANDA_HEALTH_TIMEOUT_MS", value_name = "MS", default_value = "5000", value_parser = millis)]
    pub health_timeout: Duration,
    /// Maximum number of builds that one replica runs concurrently
    #[arg(long, env = "PANDA_MAX_BUILDS", value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub max_builds: u32,
    /// Time for running builds to finish at a shutdown, in milliseconds; 0 to stop them immediately. Another replica repeats a stopped build
    #[arg(long = "build-drain-ms", env = "PANDA_BUILD_DRAIN_MS", value_name = "MS", default_value = "0", value_parser = drain)]
    pub build_drain: Duration,
    /// Maximum number of deployments that one replica advances concurrently
    #[arg(long, env = "PANDA_MAX_DEPLOYMENTS", value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub max_deployments: u32,
    /// Time without a heartbeat after which other replicas take over, in milliseconds
    #[arg(long = "lease-ms", env = "PANDA_LEASE_MS", value_name = "MS", default_value = "3500", value_parser = lease)]
    pub lease: Duration,
}

/// Names in AWS. `{owner}` and `{repo}` are replaced by the source's names in lower case.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Names in AWS ({owner} and {repo} are replaced)")]
pub struct NamesConfig {
    /// Name of the ECR repository
    #[arg(long, env = "PANDA_ECR_REPOSITORY", value_name = "TEMPLATE", default_value = "{owner}-{repo}", value_parser = template)]
    pub ecr_repository: String,
    /// Name of the EventBridge rule; Panda appends a short hash
    #[arg(long, env = "PANDA_RULE_NAME", value_name = "TEMPLATE", default_value = "panda-ecr-push-{owner}-{repo}", value_parser = template)]
    pub rule_name: String,
    /// Name of the secret with the ARN of the latest execution
    #[arg(long, env = "PANDA_SECRET_NAME", value_name = "TEMPLATE", default_value = "panda/stepfunctions/{owner}-{repo}-latest-execution", value_parser = template)]
    pub secret_name: String,
    /// Name of the state that ensures the infrastructure
    #[arg(long, env = "PANDA_STATE_ENSURE_INFRA", value_name = "NAME", default_value = "EnsureInfra")]
    pub state_ensure_infra: String,
    /// Name of the state that registers the task and starts the blue/green deployment
    #[arg(long, env = "PANDA_STATE_REGISTER", value_name = "NAME", default_value = "RegisterTaskAndDeploy")]
    pub state_register: String,
    /// Name of the state whose exit waits for approval
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

/// Returns a folder below the system's temporary folder, so that an unprivileged user can start Panda without preparation.
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
    fn defaults_match_the_contract() {
        let config = Cli::try_parse_from(["panda", DB]).unwrap().config;
        assert_eq!(config.reconcile.poll_interval, Duration::from_secs(2));
        assert_eq!(config.reconcile.follow_limit, Duration::from_mins(30));
        assert_eq!(config.reconcile.execution_wait, Duration::from_secs(10));
        assert_eq!(config.reconcile.deployment_limit, Duration::from_mins(30));
        assert_eq!(config.http.language, Lang::Ko);
    }

    #[test]
    fn rejects_a_wrong_value_with_its_remedy() {
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
        let quota = refused("--aws-quotas=states:StopExecution=x/1");
        assert!(quota.contains("--aws-quotas") && quota.contains("burst"), "{quota}");
        assert!(refused("--bus-policy=theirs").contains("managed"));
        assert!(refused("--bus-policy=organization").contains("--bus-organization"));
        assert!(refused("--bus-organization=acme").contains("o-"));
        assert!(refused("--rule-target-role-arn=events").contains("arn:aws:iam"));
    }

    #[test]
    fn debug_output_hides_the_password() {
        let config = Cli::try_parse_from(["panda", DB]).unwrap().config;
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
