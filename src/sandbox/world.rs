//! The one shared state, and how it is read, changed and waited for.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use secrecy::SecretString;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::accounts::{Accounts, random_text};
use super::aws::codedeploy::Deployment;
use super::aws::ecr::Repositories;
use super::aws::error::AwsError;
use super::aws::events::Buses;
use super::aws::secrets::Secrets;
use super::aws::sfn::Execution;
use super::ecs::Fleet;
use super::effects::Effects;
use super::faults::FaultsHandle;
use super::options::{RegistryAddress, Timing};
use super::readings::Readings;

/// What AWS remembers.
pub struct State {
    pub buses: Buses,
    pub repositories: Repositories,
    pub secrets: Secrets,
    /// By ARN.
    pub executions: BTreeMap<String, Execution>,
    /// By deployment id.
    pub deployments: BTreeMap<String, Deployment>,
    pub effects: Effects,
}

/// Everything that calls and pipelines share.
pub struct World {
    pub accounts: Accounts,
    /// Stands in the path of the sandbox's own calls, which everybody on the machine could make otherwise.
    pub control_key: String,
    pub faults: FaultsHandle,
    pub timing: Timing,
    pub fleet: Fleet,
    /// How evenly executions are followed.
    pub readings: Readings,
    /// Ends every task of the sandbox.
    pub cancel: CancellationToken,
    pub tasks: TaskTracker,
    registry: RwLock<Option<RegistryAddress>>,
    state: Mutex<State>,
    changes: watch::Sender<()>,
}

impl World {
    pub fn new(timing: Timing, fleet: Fleet, registry: Option<RegistryAddress>, seed: Option<&SecretString>) -> Self {
        Self {
            accounts: Accounts::new(seed),
            control_key: random_text(32),
            faults: FaultsHandle::new(),
            timing,
            fleet,
            readings: Readings::default(),
            cancel: CancellationToken::new(),
            tasks: TaskTracker::new(),
            registry: RwLock::new(registry),
            state: Mutex::new(State {
                buses: Buses::new(),
                repositories: Repositories::default(),
                secrets: Secrets::default(),
                executions: BTreeMap::new(),
                deployments: BTreeMap::new(),
                effects: Effects::default(),
            }),
            changes: watch::Sender::new(()),
        }
    }

    /// Looks at the state. Never held across an await: the closure cannot.
    pub fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the state and wakes whoever waits for a change.
    pub fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changes.send_replace(());
        result
    }

    /// Waits until `look` finds what it looks for.
    pub async fn until<T>(&self, mut look: impl FnMut(&State) -> Option<T>) -> T {
        let mut changes = self.changes.subscribe();
        loop {
            changes.mark_unchanged();
            if let Some(found) = self.read(&mut look) {
                return found;
            }
            // The sender lives in self: this cannot fail, and if it could, looking again would be right.
            let _ = changes.changed().await;
        }
    }

    /// Runs `work` until it ends or the sandbox does.
    pub fn spawn(self: &Arc<Self>, work: impl Future<Output = ()> + Send + 'static) {
        let cancel = self.cancel.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = cancel.cancelled() => {}
                () = work => {}
            }
        });
    }

    pub fn set_registry(&self, registry: RegistryAddress) {
        *self.registry.write().unwrap_or_else(PoisonError::into_inner) = Some(registry);
    }

    /// The registry, or what ECR answers while there is none.
    pub fn registry(&self) -> Result<RegistryAddress, AwsError> {
        self.registry.read().unwrap_or_else(PoisonError::into_inner).clone().ok_or_else(|| {
            AwsError::server("ServerException", "the sandbox has no registry yet: call set_registry first")
        })
    }
}
