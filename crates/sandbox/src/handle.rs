//! The handle of a running sandbox.

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use serde_json::json;
use tokio::net::TcpListener;
use url::Url;

use super::accounts::{AwsCaller, CONTROLLER_ACCOUNT, EVENTS_ROLE, ORGANIZATION, USER_ACCOUNT};
use super::aws::events::{PANDA_BUS, bus_arn};
use super::aws::trust;
use super::chain;
use super::console::{self, ConsoleAct};
use super::ecs::Fleet;
use super::effects::{Effects, RepositoryEffects};
use super::faults::FaultsHandle;
use super::options::{RegistryAddress, SandboxCredentials, SandboxError, SandboxOptions};
use super::place::Place;
use super::scenario::Scenario;
use super::simulation::Simulation;
use super::wire;

/// Time limit for removing the containers at the end.
const CLEANUP_LIMIT: Duration = Duration::from_secs(20);

/// A running sandbox. Prefer [`Sandbox::shutdown`]: dropping the handle also stops the sandbox, but blocks
/// while it removes containers, and may miss a container that is being created at that moment.
pub struct Sandbox {
    simulation: Arc<Simulation>,
    endpoint: Url,
    control_url: Url,
    notification_url: Url,
    stopped: bool,
}

impl Sandbox {
    /// Starts listening and serving.
    pub async fn start(options: SandboxOptions) -> Result<Self, SandboxError> {
        Self::start_with(options, &Scenario::default()).await
    }

    /// Starts with the region, timing, roles and faults of a scenario.
    pub async fn start_with(options: SandboxOptions, scenario: &Scenario) -> Result<Self, SandboxError> {
        let place = scenario.place().map_err(SandboxError::Scenario)?;
        let options = SandboxOptions { timing: scenario.timing.over(&options.timing), ..options };
        let address = options.listen;
        let refused = |source| SandboxError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let endpoint = Url::parse(&format!("http://{address}"))?;
        let fleet = Fleet::new(options.docker, options.initial_image)?;
        let mut simulation = Simulation::new(options.timing, fleet, options.registry, options.keys.as_ref());
        simulation.place = place;
        let simulation = Arc::new(simulation);
        simulation.faults.set(scenario.faults.clone());
        for role in &scenario.roles {
            simulation.accounts.put_role(&place.exchange(&role.arn), exchange(place, &role.trust_policy));
        }
        let control_url = endpoint.join(&format!("/_sandbox/{}/", simulation.control_key))?;
        let notification_url = control_url.join("registry-notifications")?;
        simulation.spawn(wire::serve(listener, Arc::clone(&simulation)));
        tracing::info!(%endpoint, "sandbox listening");
        Ok(Self { simulation, endpoint, control_url, notification_url, stopped: false })
    }

    /// The `endpoint_url` of every SDK client, without a path.
    pub fn endpoint(&self) -> &Url {
        &self.endpoint
    }

    /// Base URL of the control calls, such as `faults`. Contains a secret of this start.
    pub fn control_url(&self) -> &Url {
        &self.control_url
    }

    /// URL for the registry's `notifications.endpoints`.
    pub fn notification_url(&self) -> &Url {
        &self.notification_url
    }

    /// Sets the registry of a sandbox that was started without one.
    pub fn set_registry(&self, registry: RegistryAddress) {
        self.simulation.set_registry(registry);
    }

    /// An access key of the user's account.
    pub fn user_credentials(&self) -> &SandboxCredentials {
        &self.simulation.accounts.user
    }

    /// An access key of the controller's account.
    pub fn controller_credentials(&self) -> &SandboxCredentials {
        &self.simulation.accounts.controller
    }

    /// Creates a role in either account, or replaces its trust policy (IAM's JSON).
    ///
    /// # Panics
    /// On a policy that the sandbox does not support: an error in the test.
    pub fn put_role(&self, arn: &str, trust_policy: &serde_json::Value) {
        let flaw = trust::flaw(trust_policy);
        assert!(flaw.is_none(), "{flaw:?}: {trust_policy}");
        let place = self.simulation.place;
        self.simulation.accounts.put_role(&place.exchange(arn), exchange(place, trust_policy));
    }

    /// Creates a role that the controller's account may assume only with this external id.
    pub fn put_role_for(&self, arn: &str, external_id: &str) {
        let condition = json!({"StringEquals": {"sts:ExternalId": external_id}});
        let principal = self.simulation.place.exchange(&format!("arn:aws:iam::{CONTROLLER_ACCOUNT}:root"));
        let statement = json!({
            "Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": principal}, "Condition": condition,
        });
        self.put_role(arn, &json!({"Version": "2012-10-17", "Statement": [statement]}));
    }

    /// Temporary keys and session token of a role in the user's account, as `AssumeRole` returns them to a trusted caller.
    pub fn user_session(&self, role: &str, session: &str) -> (SandboxCredentials, SecretString) {
        let arn = format!("arn:aws:sts::{USER_ACCOUNT}:assumed-role/{role}/{session}");
        let caller = AwsCaller { account: USER_ACCOUNT.to_owned(), arn, user_id: format!("AROA:{session}") };
        let (access_key_id, secret, token) = self.simulation.accounts.open_session(caller, None);
        (SandboxCredentials { access_key_id, secret_access_key: secret.into() }, token.into())
    }

    /// Invalidates the keys of a session, as expiry or an administrator would.
    pub fn end_session(&self, keys: &SandboxCredentials) {
        self.simulation.accounts.end_session(&keys.access_key_id);
    }

    /// Ends the keys of a session by expiry: they then answer `ExpiredToken`.
    pub fn expire_session(&self, keys: &SandboxCredentials) {
        self.simulation.accounts.expire_session(&keys.access_key_id);
    }

    /// Id of the user's AWS account.
    pub fn user_account_id(&self) -> &'static str {
        USER_ACCOUNT
    }

    /// Id of the controller's AWS account.
    pub fn controller_account_id(&self) -> &'static str {
        CONTROLLER_ACCOUNT
    }

    /// ARN of the controller's bus that starts the pipeline. `PutPermission` takes its name, `panda`, not this ARN.
    pub fn bus_arn(&self) -> String {
        self.simulation.place.exchange(&bus_arn(CONTROLLER_ACCOUNT, PANDA_BUS))
    }

    /// Moves the controller's bus to another region, as for a pipeline that is not in the region of the deployments.
    pub fn move_bus(&self, region: &str) {
        let region = self.simulation.place.exchange(region);
        self.simulation.change(|state| state.buses.move_receiving(&region));
    }

    /// ARN of a role in the user's account with which EventBridge may put events on the controller's buses.
    pub fn events_role(&self) -> String {
        self.simulation.place.exchange(EVENTS_ROLE)
    }

    /// Id of the organization that both accounts belong to.
    pub fn organization(&self) -> &'static str {
        ORGANIZATION
    }

    /// Trust policy of a role and one of its inline policies.
    pub fn role(&self, arn: &str, policy: &str) -> (Option<serde_json::Value>, Option<serde_json::Value>) {
        let (place, accounts) = (self.simulation.place, &self.simulation.accounts);
        let arn = place.exchange(arn);
        let shown = |found: Option<serde_json::Value>| found.map(|policy| exchange(place, &policy));
        (shown(accounts.trust_policy(&arn)), shown(accounts.role_policy(&arn, policy)))
    }

    /// The rules on the user's default bus, each with its targets.
    pub fn user_rules(&self) -> std::collections::BTreeMap<String, Vec<serde_json::Value>> {
        let mut rules = self.simulation.read(|state| state.buses.rules_of(USER_ACCOUNT));
        for target in rules.values_mut().flatten() {
            *target = exchange(self.simulation.place, target);
        }
        rules
    }

    /// Removes the rules on the user's default bus and the policy of the controller's bus, as a sandbox that starts again has none.
    pub fn forget_routes(&self) {
        self.simulation.change(|state| state.buses.forget_routes_of(USER_ACCOUNT));
    }

    /// The statements of the policy of the controller's bus.
    pub fn bus_statements(&self) -> Vec<serde_json::Value> {
        let statements = self.simulation.read(|state| state.buses.receiving_statements());
        statements.iter().map(|statement| exchange(self.simulation.place, statement)).collect()
    }

    /// The label, `name=value`, of every container that this sandbox started.
    pub fn container_label(&self) -> String {
        self.simulation.fleet.label()
    }

    /// Name of the only AWS region.
    pub fn region(&self) -> &'static str {
        self.simulation.place.region
    }

    /// The injected faults, for reading and changing.
    pub fn faults(&self) -> &FaultsHandle {
        &self.simulation.faults
    }

    /// Delivers the event of the repository's last push once more, which starts another execution. Returns false when there was no push.
    pub fn redeliver(&self, repository: &str) -> bool {
        chain::redeliver(&self.simulation, repository)
    }

    /// Acts on the repository's unfinished rollout as AWS's console, or an alarm, would; returns the deployment's id.
    ///
    /// # Panics
    /// Without such a deployment: an error in the test.
    pub fn console(&self, repository: &str, act: ConsoleAct) -> String {
        let done = console::act(&self.simulation, repository, act);
        assert!(done.is_ok(), "{act:?}: {done:?}");
        done.unwrap_or_default()
    }

    /// Changes the weights of the repository's production listener, as infrastructure code would.
    ///
    /// # Panics
    /// Without a service of the repository: an error in the test.
    pub fn set_weights(&self, repository: &str, blue: u32, green: u32) {
        let done = console::set_weights(&self.simulation, repository, blue, green);
        assert!(done.is_ok(), "{done:?}");
    }

    /// True if the rollout has ended.
    pub fn is_ended(&self, id: &str) -> bool {
        self.simulation.read(|state| {
            state.deployments.get(id).is_some_and(|found| found.status.is_final())
                || state.service_deployments.get(id).is_some_and(|found| found.status.is_final())
        })
    }

    /// Counted effects on `repository`; all zero when there were none.
    pub fn effects(&self, repository: &str) -> RepositoryEffects {
        self.simulation.read(|state| state.effects.repositories.get(repository).cloned()).unwrap_or_default()
    }

    /// All effects counted since the start.
    pub fn all_effects(&self) -> Effects {
        self.simulation.read(|state| state.effects.clone())
    }

    /// Stops listening, ends every task, and removes the containers that this sandbox started.
    pub async fn shutdown(mut self) {
        self.stopped = true;
        stop(&self.simulation).await;
    }
}

/// A policy with the names of the place inside the sandbox, or the other way round.
fn exchange(place: Place, policy: &serde_json::Value) -> serde_json::Value {
    serde_json::from_str(&place.exchange(&policy.to_string())).unwrap_or_default()
}

async fn stop(simulation: &Simulation) {
    simulation.tasks.stop().await;
    let clean = async {
        simulation.fleet.settle().await;
        simulation.fleet.clear().await;
    };
    if tokio::time::timeout(CLEANUP_LIMIT, clean).await.is_err() {
        tracing::warn!(label = simulation.fleet.label(), "sandbox could not remove its containers in time");
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if self.stopped {
            return;
        }
        self.simulation.tasks.cancel();
        let simulation = Arc::clone(&self.simulation);
        // A thread with a separate runtime: the present one may be shutting down, for example at the end of a test.
        let cleaning = std::thread::spawn(move || {
            if let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() {
                // A left-over container is better than a process that does not end.
                let _ = runtime.block_on(async { tokio::time::timeout(CLEANUP_LIMIT, simulation.fleet.clear()).await });
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
