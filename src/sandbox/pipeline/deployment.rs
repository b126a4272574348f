//! A `CodeDeploy` deployment from its creation to its end: install, wait, shift, or stop.
//!
//! Every change of status is made under the state's lock together with what it stands for (the proxy's move, the change of
//! roles), so that a stop and a shift that meet cannot both win.

use std::sync::Arc;

use super::super::aws::codedeploy::{Deployment, Phase, Status};
use super::super::ecs::{Condition, ContainerError, Retired, Service};
use super::super::effects::count;
use super::super::faults::{ShiftFault, of_repository};
use super::super::world::World;

const START_ATTEMPTS: u32 = 3;

/// Creates the deployment of `image` and begins to install it; its id.
pub fn create(world: &Arc<World>, service: &Arc<Service>, repository: &str, image: String, digest: &str) -> String {
    let deployment = Deployment::new(repository);
    let id = deployment.id.clone();
    world.change(|state| state.deployments.insert(id.clone(), deployment));
    let install = Install {
        world: Arc::clone(world),
        service: Arc::clone(service),
        id: id.clone(),
        image,
        digest: digest.to_owned(),
        repository: repository.to_owned(),
    };
    world.spawn(async move { install.run().await });
    id
}

/// After `ContinueDeployment`: moves the traffic, then ends blue.
pub fn shift(world: &Arc<World>, id: String) {
    let shared = Arc::clone(world);
    world.spawn(async move {
        // None: somebody stopped it in between, and carries on from there.
        let _ = carry_over(&shared, &id).await;
    });
}

/// Stops a deployment; production traffic goes back to blue if it had moved.
pub fn stop(world: &Arc<World>, id: String, why: &'static str) {
    let shared = Arc::clone(world);
    edit(world, &id, |deployment| deployment.stopping = true);
    world.spawn(async move {
        // The call answers Pending, so it is: a client that takes the answer for the end is to be found out.
        tokio::time::sleep(shared.timing.traffic_shift).await;
        end_stopped(&shared, &id, why).await;
    });
}

struct Install {
    world: Arc<World>,
    service: Arc<Service>,
    id: String,
    repository: String,
    image: String,
    digest: String,
}

impl Install {
    async fn run(self) {
        edit(&self.world, &self.id, |deployment| {
            deployment.succeed(Phase::BeforeInstall);
            deployment.begin(Phase::Install);
        });
        if let Err(error) = self.start_green().await {
            let message = format!("ECS deployment circuit breaker: tasks failed to start. {error}");
            // Not if it was stopped meanwhile: then green is the stop's to end, and by now perhaps another's.
            let green = advance(&self.world, &self.id, |deployment| {
                deployment.fail(Phase::Install);
                deployment.finish(Status::Failed, Some(("ECS_UPDATE_ERROR".to_owned(), message)));
                self.service.withdraw_green()
            });
            retire(&self.world, green.flatten()).await;
            return;
        }
        let ready = advance(&self.world, &self.id, |deployment| {
            for phase in [Phase::Install, Phase::AfterInstall, Phase::AllowTestTraffic, Phase::AfterAllowTestTraffic] {
                deployment.succeed(phase);
            }
            deployment.status = Status::Ready;
        });
        if ready.is_none() {
            return;
        }
        tokio::time::sleep(self.world.timing.ready_timeout).await;
        if edit(&self.world, &self.id, |deployment| deployment.status == Status::Ready) == Some(true) {
            stop(&self.world, self.id.clone(), "no ContinueDeployment came in time");
        }
    }

    /// Green, seen to stay up. Whether it answers well is not ECS's question.
    async fn start_green(&self) -> Result<(), ContainerError> {
        let fleet = &self.world.fleet;
        let timing = &self.world.timing;
        let registry = self.world.registry().ok();
        let mut attempt = 1;
        loop {
            let running = fleet.run(&self.image, registry.as_ref(), &self.repository, "green").await?;
            if advance(&self.world, &self.id, |_| self.service.set_green(&running)).is_none() {
                // Stopped while the container started: it was never green.
                fleet.remove(&running.id).await;
                return Err(ContainerError::Stopped);
            }
            self.world.change(|state| count(&mut state.effects.of(&self.repository).greens, &self.digest));
            let mut condition = fleet.watch(&running, timing.container_start).await?;
            if matches!(condition, Condition::Listening | Condition::Quiet) {
                condition = fleet.stays(&running, timing.check_deployment).await?;
            }
            match condition {
                Condition::Listening | Condition::Quiet => return Ok(()),
                Condition::PortTaken if attempt < START_ATTEMPTS => fleet.remove(&running.id).await,
                Condition::PortTaken => return Err(ContainerError::Network(std::io::ErrorKind::AddrInUse.into())),
                Condition::Exited { code, log } => return Err(ContainerError::Exited { code, log }),
            }
            attempt += 1;
        }
    }
}

/// From the approval to the end; `None` when it was stopped or failed on the way.
async fn carry_over(world: &Arc<World>, id: &str) -> Option<()> {
    let repository = world.read(|state| state.deployments.get(id).map(|deployment| deployment.repository.clone()))?;
    let service = world.fleet.running_service(&repository)?;
    let step = world.timing.traffic_shift;

    advance(world, id, |deployment| deployment.begin(Phase::BeforeAllowTraffic))?;
    tokio::time::sleep(step).await;
    advance(world, id, |deployment| {
        deployment.succeed(Phase::BeforeAllowTraffic);
        deployment.begin(Phase::AllowTraffic);
    })?;
    meet_fault(world, id, &repository, &service).await?;
    tokio::time::sleep(step).await;
    world.change(|state| {
        let deployment = state.deployments.get_mut(id).filter(|deployment| !deployment.stopping)?;
        service.shift().then(|| {
            deployment.succeed(Phase::AllowTraffic);
            deployment.begin(Phase::AfterAllowTraffic);
            count(&mut state.effects.of(&repository).shifted, id);
        })
    })?;
    tokio::time::sleep(step).await;
    advance(world, id, |deployment| deployment.succeed(Phase::AfterAllowTraffic))?;

    let asked = world.until(|state| state.deployments.get(id).is_none_or(|one| one.terminate_now).then_some(()));
    // Either way, the wait is over.
    let _ = tokio::time::timeout(world.timing.termination_wait, asked).await;
    let old = advance(world, id, |deployment| {
        deployment.finish(Status::Succeeded, None);
        service.promote()
    })?;
    retire(world, old).await;
    Some(())
}

/// Does what the settings want instead of the shift; `None` when the deployment has ended by it.
async fn meet_fault(world: &Arc<World>, id: &str, repository: &str, service: &Service) -> Option<()> {
    let wanted = of_repository(&world.faults.get().shifts, repository).cloned();
    match wanted {
        None => Some(()),
        Some(ShiftFault::Stuck) => {
            let stuck = Some(&ShiftFault::Stuck);
            world.faults.wait_until(|faults| of_repository(&faults.shifts, repository) != stuck).await;
            Some(())
        }
        Some(ShiftFault::Stop) => {
            stop(world, id.to_owned(), "stopped before the traffic moved");
            None
        }
        Some(ShiftFault::Fail { code, message }) => {
            let green = advance(world, id, |deployment| {
                deployment.fail(Phase::AllowTraffic);
                deployment.finish(Status::Failed, Some((code, message)));
                service.withdraw_green()
            })?;
            retire(world, green).await;
            None
        }
    }
}

async fn end_stopped(world: &Arc<World>, id: &str, why: &str) {
    let green = world.change(|state| {
        let deployment = state.deployments.get_mut(id).filter(|deployment| !deployment.status.is_final())?;
        let service = world.fleet.running_service(&deployment.repository)?;
        let mut rollback = deployment.has_shifted().then(|| Deployment::new(&deployment.repository));
        if let Some(rollback) = &mut rollback {
            rollback.rolls_back = Some(id.to_owned());
            rollback.succeed(Phase::AllowTraffic);
            rollback.finish(Status::Succeeded, None);
            deployment.rolled_back_by = Some(rollback.id.clone());
        }
        deployment.finish(Status::Stopped, Some(("MANUAL_STOP".to_owned(), why.to_owned())));
        state.deployments.extend(rollback.map(|rollback| (rollback.id.clone(), rollback)));
        service.withdraw_green()
    });
    retire(world, green).await;
}

async fn retire(world: &World, retired: Option<Retired>) {
    if let Some(retired) = retired {
        retired.end(world).await;
    }
}

fn edit<T>(world: &World, id: &str, act: impl FnOnce(&mut Deployment) -> T) -> Option<T> {
    world.change(|state| state.deployments.get_mut(id).map(act))
}

/// Changes a deployment that nobody is stopping.
fn advance<T>(world: &World, id: &str, act: impl FnOnce(&mut Deployment) -> T) -> Option<T> {
    world.change(|state| {
        state
            .deployments
            .get_mut(id)
            .filter(|deployment| !deployment.stopping && !deployment.status.is_final())
            .map(act)
    })
}
