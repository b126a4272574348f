//! What a sandbox is started with, and how starting can fail.

use std::net::SocketAddr;
use std::time::Duration;

use secrecy::SecretString;

/// The registry that stands for ECR's.
#[derive(Clone, Debug)]
pub struct RegistryAddress {
    /// `host:port` as it stands at the front of an image's name, without scheme.
    pub host_port: String,
    /// The user that ECR's authorization token names (`AWS` in the real one).
    pub username: String,
    /// That user's password.
    pub password: SecretString,
}

/// How long things take. The default makes a whole execution last about a second.
#[derive(Clone, Debug)]
pub struct Timing {
    /// From the event's arrival on the controller's bus to the execution's start.
    pub execution_start_delay: Duration,
    /// The least time that `EnsureInfra` takes.
    pub ensure_infra: Duration,
    /// The least time that `RegisterTaskAndDeploy` takes.
    pub register_task: Duration,
    /// How long `CheckDeployment` watches green before it calls it stable.
    pub check_deployment: Duration,
    /// How long a container may take until its port accepts connections. Green that is late goes on to the approval
    /// all the same (a health check's business, not ECS's); a blue that is late fails `EnsureInfra`.
    pub container_start: Duration,
    /// How long each of `BeforeAllowTraffic`, `AllowTraffic` and `AfterAllowTraffic` takes.
    pub traffic_shift: Duration,
    /// From `AfterAllowTraffic` to the end of blue and the deployment's `Succeeded`.
    pub termination_wait: Duration,
    /// How long a deployment waits for `ContinueDeployment` before it stops by itself.
    pub ready_timeout: Duration,
    /// How long `PutPermission` and `RemovePermission` take between reading and writing the policy: parallel calls lose each
    /// other's statement, as they do in the real one.
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

/// Everything that [`super::Sandbox::start`] needs.
#[derive(Clone, Debug)]
pub struct SandboxOptions {
    /// What the key ids of both accounts are made of, to have the same ones after a restart; new ones when absent.
    pub keys: Option<SecretString>,
    /// The engine that runs blue and green, its API version already negotiated. Containers use the host's network.
    pub docker: bollard::Docker,
    /// The registry, when it is already known; see [`super::Sandbox::set_registry`].
    pub registry: Option<RegistryAddress>,
    /// The image that is blue before the first deployment of a repository; a small placeholder answers when there is none.
    pub initial_image: Option<String>,
    /// How long things take.
    pub timing: Timing,
    /// Where to listen; port 0 picks a free one.
    pub listen: SocketAddr,
}

/// A long-lived access key of one of the two accounts.
#[derive(Clone, Debug)]
pub struct SandboxCredentials {
    /// The access key id, which alone says who calls.
    pub access_key_id: String,
    /// The secret that signs; random, and never verified.
    pub secret_access_key: SecretString,
}

/// Why a sandbox did not start.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The address to listen on is taken or not ours.
    #[error("sandbox cannot listen on {address}: {source}; choose another address, or port 0 for any free one")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The HTTP client of the load balancer could not be built.
    #[error("sandbox load balancer: {0}")]
    Balancer(#[from] reqwest::Error),
    /// The endpoint's address does not make a URL.
    #[error("sandbox endpoint: {0}")]
    Endpoint(#[from] url::ParseError),
}
