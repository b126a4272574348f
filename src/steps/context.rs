//! What steps work with: the deployment, its connections, and the clients and settings that all steps share.

use std::path::PathBuf;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use url::Url;

use super::Reporter;
use crate::clients::aws::{Aws, StatusQueue, UserAws};
use crate::clients::builder_pool::BuilderPool;
use crate::clients::docker::{BuildLimits, Docker};
use crate::clients::gates::GateClient;
use crate::clients::git::Git;
use crate::clients::github::GitHub;
use crate::clients::probe::Probe;
use crate::clients::receivers::ReceiverClients;
use crate::clients::registry_logins::RegistryLogins;
use crate::domain::bus_policy::BusPolicy;
use crate::domain::connection::{AwsConnection, GithubConnection};
use crate::domain::deployment::Deployment;
use crate::domain::health_check::HealthCheck;
use crate::domain::names::Names;

/// Clients and settings shared by all steps.
pub struct Services {
    /// AWS clients for both accounts.
    pub aws: Aws,
    /// Docker engine in which obsolete images are removed.
    pub docker: Docker,
    /// Pool of builders, one of which serves each repository.
    pub builders: BuilderPool,
    /// Operator-configured registry logins for base images.
    pub registry_logins: RegistryLogins,
    /// Client that fetches sources over HTTP.
    pub git: Git,
    /// Client of GitHub's API, which has the tokens of Apps.
    pub github: GitHub,
    /// Client for health checks of blue and green.
    pub probe: Probe,
    /// Client for the gates of policies.
    pub gates: GateClient,
    /// Clients of the receivers of events.
    pub receivers: ReceiverClients,
    /// Queue with status events of AWS.
    pub status_queue: Option<StatusQueue>,
    /// Naming rules for resources in AWS.
    pub names: Names,
    /// Time limits, addresses and folders.
    pub settings: Settings,
}

/// Time limits, addresses and folders from the configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Name of the controller's event bus.
    pub event_bus: String,
    /// Owner of the content of the bus policy.
    pub bus_policy: BusPolicy,
    /// Organization whose accounts the bus policy may permit as a whole.
    pub bus_organization: Option<String>,
    /// ARN of the role that EventBridge assumes to put events on the controller's bus, for connections without their own; `{account}` in it stands
    /// for the account's id.
    pub rule_target_role_arn: Option<String>,
    /// Base URL of the repositories.
    pub github_url: Url,
    /// Folder for fetched sources.
    pub workspace_dir: PathBuf,
    /// Network mode of RUN steps in builds.
    pub build_network: Option<String>,
    /// Resource limits of a build.
    pub build_limits: BuildLimits,
    /// Set when remote builds cache their layers in ECR.
    pub build_cache: bool,
    /// Time between two polls of an execution.
    pub poll_interval: Duration,
    /// Time limit for following an execution.
    pub follow_limit: Duration,
    /// Time limit for the execution's ARN to appear after the push.
    pub execution_wait: Duration,
    /// Time limit of the build step.
    pub build_limit: Duration,
    /// Time limit of the push step.
    pub push_limit: Duration,
    /// Time limit of the traffic shift.
    pub switch_limit: Duration,
    /// The listener is looked at before each switch.
    pub listener_guard: bool,
    /// Number of releases of each target that are kept for rollbacks, for messages.
    pub keep_releases: u32,
    /// Time between two comparisons of a watched deployment with AWS.
    pub watch_interval: Duration,
    /// Time limit of any other step.
    pub step_limit: Duration,
    /// Time limit of a whole attempt, from its beginning until it is ready for the switch.
    pub deployment_limit: Duration,
    /// Health check of green where neither the pipeline's output nor the source says otherwise.
    pub health_check: HealthCheck,
}

/// Input of a step: the deployment, its connections and the shared services.
pub struct StepContext<'a> {
    /// Deployment as of the last commit.
    pub deployment: &'a Deployment,
    /// GitHub connection that provides the source.
    pub github: &'a GithubConnection,
    /// Connection to the user's account.
    pub aws: &'a AwsConnection,
    /// AWS clients for the user's account.
    pub user: &'a UserAws,
    /// Clients and settings shared by all steps.
    pub services: &'a Services,
    /// The step's last poll found news, so that the next one is likely to find more.
    pub expects_news: bool,
    /// Emits events while the step is still running.
    pub reporter: &'a Reporter,
    /// Cancelled when the step's future is dropped: for work on threads that dropping cannot reach.
    pub stopped: &'a CancellationToken,
}
