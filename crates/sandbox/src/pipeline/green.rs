//! The start of green, for both back ends.

use std::sync::Arc;

use super::super::ecs::{Condition, ContainerError, RunningContainer};
use super::super::effects::count;
use super::super::simulation::Simulation;

const START_ATTEMPTS: u32 = 3;

/// The image that green is to run, and its service.
#[derive(Clone, Debug)]
pub struct Green {
    pub repository: String,
    pub image: String,
    pub digest: String,
}

impl Green {
    /// Starts green, and checks that it keeps running. Health checks are not ECS's task. `adopt` makes the container the service's green; it returns false
    /// if the deployment was stopped meanwhile.
    pub async fn start(
        &self,
        simulation: &Arc<Simulation>,
        adopt: impl Fn(&RunningContainer) -> bool,
    ) -> Result<(), ContainerError> {
        let fleet = &simulation.fleet;
        let timing = &simulation.timing;
        let registry = simulation.registry().ok();
        let mut attempt = 1;
        loop {
            let running = fleet.run(&self.image, registry.as_ref(), &self.repository, "green").await?;
            if !adopt(&running) {
                // The deployment was stopped while the container started, so it never became green.
                fleet.remove(&running.id).await;
                return Err(ContainerError::Stopped);
            }
            simulation.change(|state| count(&mut state.effects.of(&self.repository).greens, &self.digest));
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
