//! The shared state of the simulated AWS, and functions that read, change and await it.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use secrecy::SecretString;
use serde_json::Value;
use tokio::sync::watch;

use super::accounts::{Accounts, random_text};
use super::aws::codedeploy::BlueGreenDeployment;
use super::aws::ecr::StoredRepositories;
use super::aws::error::AwsError;
use super::aws::events::Buses;
use super::aws::secrets::SecretStore;
use super::aws::service_deployment::ServiceDeployment;
use super::aws::sfn::SimulatedExecution;
use super::dice::Dice;
use super::ecs::Fleet;
use super::effects::Effects;
use super::faults::FaultsHandle;
use super::history_gaps::HistoryGaps;
use super::options::{RegistryAddress, Timing};
use super::place::Place;
use super::quotas::Quotas;
use super::tasks::Tasks;
use super::visibility::{Lag, Past, Visibility};

/// The state that AWS would store.
pub struct AwsState {
    pub buses: Buses,
    pub repositories: StoredRepositories,
    pub secrets: SecretStore,
    /// Step Functions executions by ARN.
    pub executions: BTreeMap<String, SimulatedExecution>,
    /// `CodeDeploy` deployments by id.
    pub deployments: BTreeMap<String, BlueGreenDeployment>,
    /// Service deployments of ECS by ARN.
    pub service_deployments: BTreeMap<String, ServiceDeployment>,
    pub effects: Effects,
    /// The last event of a push, by repository.
    pub pushed_events: BTreeMap<String, Value>,
    pub past_buses: Past<Buses>,
    pub past_secrets: Past<SecretStore>,
}

/// State and services that calls and pipelines share.
pub struct Simulation {
    pub accounts: Accounts,
    /// Secret segment in the path of the control calls: every process on the machine can reach the port.
    pub control_key: String,
    pub faults: FaultsHandle,
    pub dice: Dice,
    pub place: Place,
    pub timing: Timing,
    pub fleet: Fleet,
    /// Intervals between reads of an execution's history.
    pub history_gaps: HistoryGaps,
    pub quotas: Quotas,
    pub tasks: Tasks,
    registry: RwLock<Option<RegistryAddress>>,
    state: Mutex<AwsState>,
    changes: watch::Sender<()>,
}

impl Simulation {
    pub fn new(timing: Timing, fleet: Fleet, registry: Option<RegistryAddress>, seed: Option<&SecretString>) -> Self {
        Self {
            accounts: Accounts::new(seed),
            control_key: random_text(32),
            faults: FaultsHandle::new(),
            dice: Dice::default(),
            place: Place::default(),
            timing,
            fleet,
            history_gaps: HistoryGaps::default(),
            quotas: Quotas::default(),
            tasks: Tasks::default(),
            registry: RwLock::new(registry),
            state: Mutex::new(AwsState {
                buses: Buses::new(),
                repositories: StoredRepositories::default(),
                secrets: SecretStore::default(),
                executions: BTreeMap::new(),
                deployments: BTreeMap::new(),
                service_deployments: BTreeMap::new(),
                effects: Effects::default(),
                pushed_events: BTreeMap::new(),
                past_buses: Past::default(),
                past_secrets: Past::default(),
            }),
            changes: watch::Sender::new(()),
        }
    }

    /// Reads the state under its lock. The closure is synchronous, so the lock is never held across an await.
    pub fn read<T>(&self, look: impl FnOnce(&AwsState) -> T) -> T {
        look(&self.state.lock())
    }

    /// Changes the state, and wakes all tasks in [`Self::until`].
    pub fn change<T>(&self, change: impl FnOnce(&mut AwsState) -> T) -> T {
        let result = change(&mut self.state.lock());
        self.changes.send_replace(());
        result
    }

    /// Waits until `look` returns a value.
    pub async fn until<T>(&self, mut look: impl FnMut(&AwsState) -> Option<T>) -> T {
        let mut changes = self.changes.subscribe();
        loop {
            changes.mark_unchanged();
            if let Some(found) = self.read(&mut look) {
                return found;
            }
            // Cannot fail: `self` owns the sender.
            let _ = changes.changed().await;
        }
    }

    /// The lag of one read.
    pub fn lag(&self, of: impl FnOnce(&Visibility) -> Lag) -> Duration {
        let (lag, seed) = self.faults.look(|faults| (of(&faults.visibility), faults.seed));
        if lag.jitter_ms == 0 { lag.drawn(0) } else { lag.drawn(self.dice.roll(seed, "visibility")) }
    }

    /// Reads rules, targets and policies of buses as far as they are visible.
    pub fn buses<T>(&self, look: impl FnOnce(&Buses) -> T) -> T {
        if !self.faults.look(|faults| faults.visibility.of_buses()) {
            return self.read(|state| look(&state.buses));
        }
        let lags = (self.lag(|of| of.rule), self.lag(|of| of.target), self.lag(|of| of.bus_policy));
        let now = Instant::now();
        self.read(|state| {
            let seen = |lag| state.past_buses.before(now, lag).unwrap_or(&state.buses);
            look(&Buses::merged(seen(lags.0), seen(lags.1), seen(lags.2)))
        })
    }

    /// Reads the secrets that are visible.
    pub fn secrets<T>(&self, look: impl FnOnce(&SecretStore) -> T) -> T {
        let (lag, now) = (self.lag(|of| of.secret), Instant::now());
        self.read(|state| look(state.past_secrets.before(now, lag).unwrap_or(&state.secrets)))
    }

    /// Records what is about to change, where reads lag: the first time the present state, which was always true.
    pub fn before_change(&self) {
        let (buses, secrets) =
            self.faults.look(|faults| (faults.visibility.of_buses(), !faults.visibility.secret.is_zero()));
        let now = Instant::now();
        self.change(|state| {
            if !buses {
                state.past_buses.clear();
            } else if state.past_buses.is_empty() {
                state.past_buses.record(now, state.buses.clone());
            }
            if !secrets {
                state.past_secrets.clear();
            } else if state.past_secrets.is_empty() {
                state.past_secrets.record(now, state.secrets.clone());
            }
        });
    }

    /// Records what has changed, where reads lag.
    pub fn after_change(&self) {
        let now = Instant::now();
        self.change(|state| {
            if !state.past_buses.is_empty() {
                state.past_buses.record(now, state.buses.clone());
            }
            if !state.past_secrets.is_empty() {
                state.past_secrets.record(now, state.secrets.clone());
            }
        });
    }

    /// Runs `work` until it ends or the sandbox stops.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(work);
    }

    pub fn set_registry(&self, registry: RegistryAddress) {
        *self.registry.write() = Some(registry);
    }

    /// The registry, or the error with which ECR answers while none is set.
    pub fn registry(&self) -> Result<RegistryAddress, AwsError> {
        self.registry.read().clone().ok_or_else(|| {
            AwsError::server("ServerException", "the sandbox has no registry yet: call set_registry first")
        })
    }
}
