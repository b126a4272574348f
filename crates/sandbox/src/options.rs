//! Options of a sandbox, and the errors of its start.

use std::net::SocketAddr;
use std::time::Duration;

use secrecy::SecretString;

/// The registry that serves as ECR's.
#[derive(Clone, Debug)]
pub struct RegistryAddress {
    /// `host:port` without scheme, as in an image's name.
    pub host_port: String,
    /// User in ECR's authorization token (`AWS` in the real one).
    pub username: String,
    /// Password of that user.
    pub password: SecretString,
}

/// Durations of the simulated steps. With the defaults a whole execution takes about a second.
#[derive(Clone, Debug)]
pub struct Timing {
    /// Time from the event's arrival on the controller's bus to the execution's start.
    pub execution_start_delay: Duration,
    /// Minimum duration of `EnsureInfra`.
    pub ensure_infra: Duration,
    /// Minimum duration of `RegisterTaskAndDeploy`.
    pub register_task: Duration,
    /// Time for which `CheckDeployment` watches green before it reports it as stable.
    pub check_deployment: Duration,
    /// Time limit for a container to accept connections on its port. A late green still proceeds to the approval
    /// (health checks decide, not ECS); a late blue fails `EnsureInfra`.
    pub container_start: Duration,
    /// Duration of each of `BeforeAllowTraffic`, `AllowTraffic` and `AfterAllowTraffic`.
    pub traffic_shift: Duration,
    /// Time from `AfterAllowTraffic` to the end of blue and the deployment's `Succeeded`.
    pub termination_wait: Duration,
    /// Time for which a deployment waits for `ContinueDeployment` before it stops.
    pub ready_timeout: Duration,
    /// Time between reading and writing the policy in `PutPermission` and `RemovePermission`: parallel calls lose each
    /// other's statement, as in the real one.
    pub permission_write: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        let state = Duration::from_millis(300);
        Self {
            execution_start_delay: Duration::from_millis(100),
            ensure_infra: state,
            register_task: state,
            check_deployment: state,
            container_start: Duration::from_secs(10),
            traffic_shift: Duration::from_millis(100),
            termination_wait: state,
            ready_timeout: Duration::from_hours(1),
            permission_write: Duration::from_millis(20),
        }
    }
}

/// Options with which [`super::Sandbox::start`] starts a sandbox.
#[derive(Clone, Debug)]
pub struct SandboxOptions {
    /// Seed of the key ids of both accounts, to keep them across restarts; random when absent.
    pub keys: Option<SecretString>,
    /// Engine that runs blue and green, with its API version already negotiated. Containers use the host's network.
    pub docker: bollard::Docker,
    /// The registry, if already known; see [`super::Sandbox::set_registry`].
    pub registry: Option<RegistryAddress>,
    /// Image of blue before the first deployment of a repository; without one a small placeholder answers.
    pub initial_image: Option<String>,
    /// Durations of the simulated steps.
    pub timing: Timing,
    /// Address to listen on; port 0 picks a free one.
    pub listen: SocketAddr,
}

/// A long-lived access key of one of the two accounts.
#[derive(Clone, Debug)]
pub struct SandboxCredentials {
    /// Access key id; it alone identifies the caller.
    pub access_key_id: String,
    /// Secret access key; random, and never verified.
    pub secret_access_key: SecretString,
}

/// An error at the start of a sandbox.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The address to listen on is taken or not local.
    #[error("sandbox cannot listen on {address}: {source}; choose another address, or port 0 for any free one")]
    Listen {
        /// Address that was requested.
        address: SocketAddr,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// The HTTP client of the load balancer could not be built.
    #[error("sandbox load balancer: {0}")]
    Balancer(#[from] reqwest::Error),
    /// The scenario cannot be used.
    #[error("scenario: {0}")]
    Scenario(String),
    /// The endpoint's address is not a valid URL.
    #[error("sandbox endpoint: {0}")]
    Endpoint(#[from] url::ParseError),
}
