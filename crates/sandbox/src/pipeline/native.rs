//! Runs a service deployment of ECS: scale up, pauses, parts of the traffic, bake time, or the way back.
//!
//! As for CodeDeploy, every status change happens under the state's lock together with its effect.

use std::sync::Arc;
use std::time::Duration;

use super::super::aws::service_deployment::{RolloutStyle, ServiceDeployment, ServiceDeploymentStatus};
use super::super::ecs::{ContainerError, EcsService};
use super::super::effects::count;
use super::super::faults::{ShiftFault, of_repository};
use super::super::simulation::Simulation;
use super::deployment::{hold, retire};
use super::green::Green;

/// Creates the deployment of `green` and starts it. Returns its ARN.
pub fn create(simulation: &Arc<Simulation>, service: &Arc<EcsService>, green: Green, style: RolloutStyle) -> String {
    let shorter = simulation.faults.get().ready_timeout_ms.map(Duration::from_millis);
    let number = service.revision();
    let image = (green.image.clone(), green.digest.as_str());
    let deployment = ServiceDeployment::new(&green.repository, image, style, number, 3 - service.blue_group());
    let arn = deployment.arn.clone();
    simulation.change(|state| state.service_deployments.insert(arn.clone(), deployment));
    let run = Run {
        simulation: Arc::clone(simulation),
        service: Arc::clone(service),
        arn: arn.clone(),
        green,
        style,
        wait: shorter.unwrap_or(simulation.timing.ready_timeout),
    };
    simulation.spawn(async move {
        // None when the deployment was stopped meanwhile: the rollback finishes it.
        let _ = run.run().await;
    });
    arn
}

/// Creates deployments that await `ContinueServiceDeployment`, without containers, each of a separate service: `REPOSITORY-0`, `REPOSITORY-1`, and so on.
pub fn create_waiting(simulation: &Simulation, repository: &str, count: usize) -> Vec<String> {
    let waiting: Vec<_> = (0..count).map(|n| ServiceDeployment::waiting(&format!("{repository}-{n}"))).collect();
    let arns = waiting.iter().map(|deployment| deployment.arn.clone()).collect();
    simulation.change(|state| {
        state.service_deployments.extend(waiting.into_iter().map(|deployment| (deployment.arn.clone(), deployment)));
    });
    arns
}

/// Sends the traffic of a deployment back to the source revision; returns false if it has ended or goes back already.
pub fn roll_back(simulation: &Arc<Simulation>, arn: &str, reason: &str, alarm: Option<&str>) -> bool {
    let began = edit(simulation, arn, |deployment| {
        let advances = deployment.status.advances();
        if advances {
            deployment.go_back(reason, alarm);
        }
        advances
    });
    if began != Some(true) {
        return false;
    }
    let (shared, arn) = (Arc::clone(simulation), arn.to_owned());
    simulation.spawn(async move {
        // The call answers before the traffic moves: a client that mistakes the response for the end fails here.
        tokio::time::sleep(shared.timing.traffic_shift).await;
        let repository = edit(&shared, &arn, |deployment| {
            deployment.status = ServiceDeploymentStatus::RollbackInProgress;
            deployment.green = 0;
            deployment.repository.clone()
        });
        let service = repository.and_then(|repository| shared.fleet.running_service(&repository));
        if let Some(service) = &service {
            service.set_weights(100, 0);
        }
        tokio::time::sleep(shared.timing.traffic_shift).await;
        let green = edit(&shared, &arn, |deployment| {
            deployment.finish(ServiceDeploymentStatus::RollbackSuccessful);
            service.as_ref().and_then(|service| service.withdraw_green())
        });
        retire(&shared, green.flatten()).await;
    });
    true
}

/// Stops a deployment and leaves the traffic where it is, as `StopServiceDeployment` with `ABORT`.
pub fn abort(simulation: &Simulation, arn: &str) -> bool {
    let stopped = edit(simulation, arn, |deployment| {
        let advances = deployment.status.advances();
        if advances {
            deployment.finish(ServiceDeploymentStatus::Stopped);
        }
        advances
    });
    stopped == Some(true)
}

struct Run {
    simulation: Arc<Simulation>,
    service: Arc<EcsService>,
    arn: String,
    green: Green,
    style: RolloutStyle,
    wait: Duration,
}

impl Run {
    async fn run(self) -> Option<()> {
        let step = self.simulation.timing.traffic_shift;
        self.advance(|deployment| {
            deployment.status = ServiceDeploymentStatus::InProgress;
            deployment.stage = "SCALE_UP";
        })?;
        if let Err(error) = self.start_green().await {
            let reason = format!("ECS deployment circuit breaker: tasks failed to start. {error}");
            roll_back(&self.simulation, &self.arn, &reason, None);
            return None;
        }
        self.stage("POST_TEST_TRAFFIC_SHIFT")?;
        self.pause().await?;
        for (index, percent) in self.style.parts().into_iter().enumerate() {
            if index > 0 && matches!(self.style, RolloutStyle::Canary { .. }) {
                self.pause().await?;
            }
            self.stage("PRODUCTION_TRAFFIC_SHIFT")?;
            self.apply_fault().await?;
            tokio::time::sleep(step).await;
            self.shift(percent)?;
            tokio::time::sleep(step).await;
            self.stage("POST_PRODUCTION_TRAFFIC_SHIFT")?;
        }
        self.stage("BAKE_TIME")?;
        self.bake().await?;
        let old = self.advance(|deployment| {
            deployment.stage = "CLEAN_UP";
            deployment.finish(ServiceDeploymentStatus::Successful);
            self.service.promote()
        })?;
        retire(&self.simulation, old).await;
        Some(())
    }

    async fn start_green(&self) -> Result<(), ContainerError> {
        let adopt = |running: &_| self.advance(|_| self.service.set_green(running)).is_some();
        self.green.start(&self.simulation, adopt).await
    }

    fn stage(&self, stage: &'static str) -> Option<()> {
        self.advance(|deployment| deployment.stage = stage)
    }

    /// Waits for `ContinueServiceDeployment`, or for the end of the hook's time.
    async fn pause(&self) -> Option<()> {
        self.advance(|deployment| deployment.pause(self.wait))?;
        let answered = self.simulation.until(|state| {
            state.service_deployments.get(&self.arn).is_none_or(|deployment| !deployment.is_paused()).then_some(())
        });
        if tokio::time::timeout(self.wait, answered).await.is_err() {
            self.advance(|deployment| deployment.answer("TIMED_OUT"))?;
            roll_back(&self.simulation, &self.arn, "The lifecycle hook timed out while it awaited an action.", None);
            return None;
        }
        self.advance(|_| ())
    }

    fn shift(&self, percent: u32) -> Option<()> {
        self.simulation.change(|state| {
            let deployment = state.service_deployments.get_mut(&self.arn)?;
            if !deployment.status.advances() {
                return None;
            }
            deployment.green = percent;
            self.service.set_weights(100 - percent, percent);
            if percent == 100 {
                count(&mut state.effects.of(&self.green.repository).shifted, &self.arn);
            }
            Some(())
        })
    }

    fn fault(&self) -> Option<ShiftFault> {
        of_repository(&self.simulation.faults.get().shifts, &self.green.repository).cloned()
    }

    /// Applies the injected fault of the shift; none when it has ended the deployment.
    async fn apply_fault(&self) -> Option<()> {
        match self.fault() {
            None | Some(ShiftFault::HoldBlue | ShiftFault::HoldHook | ShiftFault::FailHook) => Some(()),
            Some(ShiftFault::Stuck) => {
                hold(&self.simulation, &self.green.repository, &ShiftFault::Stuck).await;
                self.advance(|_| ())
            }
            Some(ShiftFault::Stop) => {
                roll_back(&self.simulation, &self.arn, "Service deployment stopped before the traffic moved.", None);
                None
            }
            Some(ShiftFault::Fail { code, message }) => {
                roll_back(&self.simulation, &self.arn, &format!("{message} ({code})"), None);
                None
            }
        }
    }

    /// The bake time, with its faults; none when the deployment goes back.
    async fn bake(&self) -> Option<()> {
        hold(&self.simulation, &self.green.repository, &ShiftFault::HoldHook).await;
        if self.fault() == Some(ShiftFault::FailHook) {
            roll_back(&self.simulation, &self.arn, "Service deployment failed because of a lifecycle hook.", None);
            return None;
        }
        hold(&self.simulation, &self.green.repository, &ShiftFault::HoldBlue).await;
        tokio::time::sleep(self.simulation.timing.termination_wait).await;
        self.advance(|_| ())
    }

    /// Changes the deployment, unless it has ended or goes back.
    fn advance<T>(&self, act: impl FnOnce(&mut ServiceDeployment) -> T) -> Option<T> {
        self.simulation.change(|state| {
            state.service_deployments.get_mut(&self.arn).filter(|deployment| deployment.status.advances()).map(act)
        })
    }
}

fn edit<T>(simulation: &Simulation, arn: &str, act: impl FnOnce(&mut ServiceDeployment) -> T) -> Option<T> {
    simulation.change(|state| state.service_deployments.get_mut(arn).map(act))
}
