//! The handle that `main` and tests hold.

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use serde_json::json;
use tokio::net::TcpListener;
use url::Url;

use super::accounts::{CONTROLLER_ACCOUNT, Caller, REGION, USER_ACCOUNT};
use super::aws::events::{PANDA_BUS, bus_arn};
use super::aws::trust;
use super::ecs::Fleet;
use super::effects::{Effects, RepositoryEffects};
use super::faults::FaultsHandle;
use super::options::{RegistryAddress, SandboxCredentials, SandboxError, SandboxOptions};
use super::wire;
use super::world::World;

/// How long ending may take to remove the containers.
const LONGEST_CLEANING: Duration = Duration::from_secs(20);

/// A running sandbox. Prefer [`Sandbox::shutdown`]; dropping the handle ends it too, blocks
/// while containers are removed, and may miss one that is being created at that moment.
pub struct Sandbox {
    world: Arc<World>,
    endpoint: Url,
    control_url: Url,
    notification_url: Url,
    stopped: bool,
}

impl Sandbox {
    /// Listens, and answers from then on.
    pub async fn start(options: SandboxOptions) -> Result<Self, SandboxError> {
        let address = options.listen;
        let refused = |source| SandboxError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let endpoint = Url::parse(&format!("http://{address}"))?;
        let fleet = Fleet::new(options.docker, options.initial_image)?;
        let world = Arc::new(World::new(options.timing, fleet, options.registry, options.keys.as_ref()));
        let control_url = endpoint.join(&format!("/_sandbox/{}/", world.control_key))?;
        let notification_url = control_url.join("registry-notifications")?;
        world.spawn(wire::serve(listener, Arc::clone(&world)));
        tracing::info!(%endpoint, "sandbox listens");
        Ok(Self { world, endpoint, control_url, notification_url, stopped: false })
    }

    /// The `endpoint_url` of every SDK client, without a path.
    pub fn endpoint(&self) -> &Url {
        &self.endpoint
    }

    /// Where the sandbox's own calls are, such as `faults`. A secret of this start stands in it.
    pub fn control_url(&self) -> &Url {
        &self.control_url
    }

    /// Where the registry's `notifications.endpoints` are to post.
    pub fn notification_url(&self) -> &Url {
        &self.notification_url
    }

    /// Tells the sandbox where its registry is, when it was started without.
    pub fn set_registry(&self, registry: RegistryAddress) {
        self.world.set_registry(registry);
    }

    /// An access key of the user's account.
    pub fn user_credentials(&self) -> &SandboxCredentials {
        &self.world.accounts.user
    }

    /// An access key of the controller's account.
    pub fn controller_credentials(&self) -> &SandboxCredentials {
        &self.world.accounts.controller
    }

    /// Makes a role in either account, or gives it another trust policy (IAM's JSON).
    ///
    /// # Panics
    /// On a policy that the sandbox does not play: a test's mistake.
    pub fn put_role(&self, arn: &str, trust_policy: serde_json::Value) {
        let flaw = trust::flaw(&trust_policy);
        assert!(flaw.is_none(), "{flaw:?}: {trust_policy}");
        self.world.accounts.put_role(arn, trust_policy);
    }

    /// Makes a role that the controller's account may assume with this external id alone.
    pub fn put_role_for(&self, arn: &str, external_id: &str) {
        let condition = json!({"StringEquals": {"sts:ExternalId": external_id}});
        let principal = format!("arn:aws:iam::{CONTROLLER_ACCOUNT}:root");
        let statement = json!({
            "Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": principal}, "Condition": condition,
        });
        self.put_role(arn, json!({"Version": "2012-10-17", "Statement": [statement]}));
    }

    /// Temporary keys of a session of a role of the user's account, as `AssumeRole` gives to those whom it trusts: the keys and their token.
    pub fn user_session(&self, role: &str, session: &str) -> (SandboxCredentials, SecretString) {
        let arn = format!("arn:aws:sts::{USER_ACCOUNT}:assumed-role/{role}/{session}");
        let caller = Caller { account: USER_ACCOUNT.to_owned(), arn, user_id: format!("AROA:{session}") };
        let (access_key_id, secret, token) = self.world.accounts.open_session(caller);
        (SandboxCredentials { access_key_id, secret_access_key: secret.into() }, token.into())
    }

    /// Takes the keys of a session back, as an administrator does or time.
    pub fn end_session(&self, keys: &SandboxCredentials) {
        self.world.accounts.end_session(&keys.access_key_id);
    }

    /// The user's account.
    pub fn user_account_id(&self) -> &'static str {
        USER_ACCOUNT
    }

    /// The controller's account.
    pub fn controller_account_id(&self) -> &'static str {
        CONTROLLER_ACCOUNT
    }

    /// The controller's bus that starts the pipeline. `PutPermission` takes its name, `panda`, not this ARN.
    pub fn bus_arn(&self) -> String {
        bus_arn(CONTROLLER_ACCOUNT, PANDA_BUS)
    }

    /// The label, `name=value`, of every container that this sandbox started.
    pub fn container_label(&self) -> String {
        self.world.fleet.label()
    }

    /// The one region.
    pub fn region(&self) -> &'static str {
        REGION
    }

    /// The settings of what goes wrong.
    pub fn faults(&self) -> &FaultsHandle {
        &self.world.faults
    }

    /// What really happened to `repository`; all zero when nothing did.
    pub fn effects(&self, repository: &str) -> RepositoryEffects {
        self.world.read(|state| state.effects.repositories.get(repository).cloned()).unwrap_or_default()
    }

    /// Everything that was counted.
    pub fn all_effects(&self) -> Effects {
        self.world.read(|state| state.effects.clone())
    }

    /// Stops listening, ends every task, removes the containers it started.
    pub async fn shutdown(mut self) {
        self.stopped = true;
        stop(&self.world).await;
    }
}

async fn stop(world: &World) {
    world.cancel.cancel();
    world.tasks.close();
    world.tasks.wait().await;
    let clean = async {
        world.fleet.settle().await;
        world.fleet.clear().await;
    };
    if tokio::time::timeout(LONGEST_CLEANING, clean).await.is_err() {
        tracing::warn!(label = world.fleet.label(), "sandbox could not remove its containers in time");
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if self.stopped {
            return;
        }
        self.world.cancel.cancel();
        let world = Arc::clone(&self.world);
        // A thread with its own runtime, since the one that we are in may be ending: a test's end is such a moment.
        let cleaning = std::thread::spawn(move || {
            if let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() {
                // A container that is removed late is better than a program that does not end.
                let _ = runtime.block_on(async { tokio::time::timeout(LONGEST_CLEANING, world.fleet.clear()).await });
            }
        });
        if cleaning.join().is_err() {
            tracing::warn!("sandbox could not remove its containers");
        }
    }
}

impl std::fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sandbox").field("endpoint", &self.endpoint.as_str()).finish_non_exhaustive()
    }
}
