//! Runs a `CodeDeploy` deployment: install, wait, shift, or stop.
//!
//! Every status change happens under the state's lock together with its effect (the proxy's target, the change of
//! roles), so that a concurrent stop and shift cannot both take effect.

use std::sync::Arc;
use std::time::Duration;

use super::super::aws::codedeploy::{BlueGreenDeployment, BlueGreenStatus, Phase};
use super::super::ecs::{ContainerError, EcsService, Retired};
use super::super::effects::count;
use super::super::faults::{ShiftFault, of_repository};
use super::super::simulation::Simulation;
use super::green::Green;

/// Creates the deployment of `green` and starts its installation. Returns its id.
pub fn create(simulation: &Arc<Simulation>, service: &Arc<EcsService>, green: Green) -> String {
    let mut deployment = BlueGreenDeployment::new(&green.repository);
    let shorter = simulation.faults.get().ready_timeout_ms.map(Duration::from_millis);
    let ready_wait = shorter.unwrap_or(simulation.timing.ready_timeout);
    deployment.ready_wait = ready_wait;
    deployment.blue_group = service.blue_group();
    let id = deployment.id.clone();
    simulation.change(|state| state.deployments.insert(id.clone(), deployment));
    let install =
        Install { simulation: Arc::clone(simulation), service: Arc::clone(service), id: id.clone(), green, ready_wait };
    simulation.spawn(async move { install.run().await });
    id
}

/// Creates deployments that wait for `ContinueDeployment` and have no containers: a load for programs that watch them. They wait until they are stopped.
pub fn create_waiting(simulation: &Simulation, repository: &str, count: usize) -> Vec<String> {
    let waiting: Vec<_> = std::iter::repeat_with(|| {
        let mut deployment = BlueGreenDeployment::new(repository);
        deployment.install();
        deployment
    })
    .take(count)
    .collect();
    let ids = waiting.iter().map(|deployment| deployment.id.clone()).collect();
    simulation.change(|state| {
        state.deployments.extend(waiting.into_iter().map(|deployment| (deployment.id.clone(), deployment)));
    });
    ids
}

/// Shifts the traffic after `ContinueDeployment`, then ends blue.
pub fn shift(simulation: &Arc<Simulation>, id: String) {
    let shared = Arc::clone(simulation);
    simulation.spawn(async move {
        // `None` when the deployment was stopped meanwhile: the stop finishes it.
        let _ = shift_traffic(&shared, &id).await;
    });
}

/// Why a deployment is stopped, and if the traffic is taken back.
#[derive(Clone, Copy, Debug)]
pub struct Stop {
    /// CodeDeploy's error code.
    pub code: &'static str,
    /// CodeDeploy's message for the error.
    pub message: &'static str,
    /// Returns production traffic to blue if it had moved.
    pub rollback: bool,
}

/// Stops a deployment, and returns production traffic to blue if it had moved.
pub fn stop(simulation: &Arc<Simulation>, id: String, why: &'static str) {
    stop_for(simulation, id, Stop { code: "MANUAL_STOP", message: why, rollback: true });
}

/// Stops a deployment for any reason.
pub fn stop_for(simulation: &Arc<Simulation>, id: String, why: Stop) {
    let shared = Arc::clone(simulation);
    edit(simulation, &id, |deployment| deployment.stopping = true);
    simulation.spawn(async move {
        // The call answers Pending, so the stop takes time: a client that mistakes the response for the end fails here.
        tokio::time::sleep(shared.timing.traffic_shift).await;
        end(&shared, &id, BlueGreenStatus::Stopped, why).await;
    });
}

struct Install {
    simulation: Arc<Simulation>,
    service: Arc<EcsService>,
    id: String,
    green: Green,
    ready_wait: Duration,
}

impl Install {
    async fn run(self) {
        edit(&self.simulation, &self.id, |deployment| {
            deployment.succeed(Phase::BeforeInstall);
            deployment.begin(Phase::Install);
        });
        if let Err(error) = self.start_green().await {
            let message = format!("ECS deployment circuit breaker: tasks failed to start. {error}");
            // Does nothing if the deployment was stopped meanwhile: the stop ends green, which may already be another deployment's.
            let green = advance(&self.simulation, &self.id, |deployment| {
                deployment.fail(Phase::Install);
                deployment.finish(BlueGreenStatus::Failed, Some(("ECS_UPDATE_ERROR".to_owned(), message)));
                self.service.withdraw_green()
            });
            retire(&self.simulation, green.flatten()).await;
            return;
        }
        if advance(&self.simulation, &self.id, BlueGreenDeployment::install).is_none() {
            return;
        }
        tokio::time::sleep(self.ready_wait).await;
        if edit(&self.simulation, &self.id, |deployment| deployment.status == BlueGreenStatus::Ready) == Some(true) {
            let message = "The deployment timed out while it waited for the traffic to be rerouted.";
            stop_for(&self.simulation, self.id.clone(), Stop { code: "TIMEOUT", message, rollback: true });
        }
    }

    async fn start_green(&self) -> Result<(), ContainerError> {
        let adopt = |running: &_| advance(&self.simulation, &self.id, |_| self.service.set_green(running)).is_some();
        self.green.start(&self.simulation, adopt).await
    }
}

/// Runs the deployment from the approval to its end. Returns `None` when it was stopped or failed.
async fn shift_traffic(simulation: &Arc<Simulation>, id: &str) -> Option<()> {
    let repository =
        simulation.read(|state| state.deployments.get(id).map(|deployment| deployment.repository.clone()))?;
    let service = simulation.fleet.running_service(&repository)?;
    let step = simulation.timing.traffic_shift;

    advance(simulation, id, |deployment| deployment.begin(Phase::BeforeAllowTraffic))?;
    tokio::time::sleep(step).await;
    advance(simulation, id, |deployment| {
        deployment.succeed(Phase::BeforeAllowTraffic);
        deployment.begin(Phase::AllowTraffic);
    })?;
    apply_fault(simulation, id, &repository, &service).await?;
    tokio::time::sleep(step).await;
    simulation.change(|state| {
        let deployment = state.deployments.get_mut(id).filter(|deployment| !deployment.stopping)?;
        service.shift().then(|| {
            deployment.succeed(Phase::AllowTraffic);
            deployment.begin(Phase::AfterAllowTraffic);
            count(&mut state.effects.of(&repository).shifted, id);
        })
    })?;
    tokio::time::sleep(step).await;
    run_hook(simulation, id, &repository).await?;
    advance(simulation, id, |deployment| deployment.succeed(Phase::AfterAllowTraffic))?;

    let asked =
        simulation.until(|state| state.deployments.get(id).is_none_or(|found| found.terminate_now).then_some(()));
    hold(simulation, &repository, &ShiftFault::HoldBlue).await;
    // Ignored: both the timeout and the request end the wait.
    let _ = tokio::time::timeout(simulation.timing.termination_wait, asked).await;
    let old = advance(simulation, id, |deployment| {
        deployment.finish(BlueGreenStatus::Succeeded, None);
        service.promote()
    })?;
    retire(simulation, old).await;
    Some(())
}

/// Applies the injected fault of the shift. Returns `None` when the fault has ended the deployment.
async fn apply_fault(simulation: &Arc<Simulation>, id: &str, repository: &str, service: &EcsService) -> Option<()> {
    let wanted = of_repository(&simulation.faults.get().shifts, repository).cloned();
    match wanted {
        None | Some(ShiftFault::HoldBlue | ShiftFault::HoldHook | ShiftFault::FailHook) => Some(()),
        Some(ShiftFault::Stuck) => {
            hold(simulation, repository, &ShiftFault::Stuck).await;
            Some(())
        }
        Some(ShiftFault::Stop) => {
            stop(simulation, id.to_owned(), "stopped before the traffic moved");
            None
        }
        Some(ShiftFault::Fail { code, message }) => {
            let green = advance(simulation, id, |deployment| {
                deployment.fail(Phase::AllowTraffic);
                deployment.finish(BlueGreenStatus::Failed, Some((code, message)));
                service.withdraw_green()
            })?;
            retire(simulation, green).await;
            None
        }
    }
}

/// Waits until `repository` has another fault than `held`.
pub(super) async fn hold(simulation: &Simulation, repository: &str, held: &ShiftFault) {
    simulation.faults.wait_until(|faults| of_repository(&faults.shifts, repository) != Some(held)).await;
}

/// Runs the hook of `AfterAllowTraffic`. Returns `None` when it has failed, and the traffic is on blue again.
async fn run_hook(simulation: &Arc<Simulation>, id: &str, repository: &str) -> Option<()> {
    hold(simulation, repository, &ShiftFault::HoldHook).await;
    if of_repository(&simulation.faults.get().shifts, repository) != Some(&ShiftFault::FailHook) {
        return Some(());
    }
    advance(simulation, id, |deployment| deployment.fail(Phase::AfterAllowTraffic))?;
    let message = "The deployment failed because a lifecycle event validation hook failed.";
    let why = Stop { code: "HOOK_EXECUTION_FAILURE", message, rollback: true };
    end(simulation, id, BlueGreenStatus::Failed, why).await;
    None
}

/// Ends a deployment without success.
async fn end(simulation: &Arc<Simulation>, id: &str, status: BlueGreenStatus, why: Stop) {
    let retired = simulation.change(|state| {
        let deployment = state.deployments.get_mut(id).filter(|deployment| !deployment.status.is_final())?;
        let service = simulation.fleet.running_service(&deployment.repository)?;
        let back = why.rollback && deployment.has_shifted();
        let mut rollback = back.then(|| BlueGreenDeployment::new(&deployment.repository));
        if let Some(rollback) = &mut rollback {
            rollback.rolls_back = Some(id.to_owned());
            rollback.succeed(Phase::AllowTraffic);
            rollback.finish(BlueGreenStatus::Succeeded, None);
            deployment.rolled_back_by = Some(rollback.id.clone());
        }
        let stays = deployment.has_shifted() && !back;
        deployment.finish(status, Some((why.code.to_owned(), why.message.to_owned())));
        state.deployments.extend(rollback.map(|rollback| (rollback.id.clone(), rollback)));
        if stays { service.promote() } else { service.withdraw_green() }
    });
    retire(simulation, retired).await;
}

pub(super) async fn retire(simulation: &Simulation, retired: Option<Retired>) {
    if let Some(retired) = retired {
        retired.end(&simulation.fleet).await;
    }
}

fn edit<T>(simulation: &Simulation, id: &str, act: impl FnOnce(&mut BlueGreenDeployment) -> T) -> Option<T> {
    simulation.change(|state| state.deployments.get_mut(id).map(act))
}

/// Changes a deployment, unless it is being stopped or has ended.
fn advance<T>(simulation: &Simulation, id: &str, act: impl FnOnce(&mut BlueGreenDeployment) -> T) -> Option<T> {
    simulation.change(|state| {
        state
            .deployments
            .get_mut(id)
            .filter(|deployment| !deployment.stopping && !deployment.status.is_final())
            .map(act)
    })
}
