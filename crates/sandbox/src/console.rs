//! What people, alarms and infrastructure code do to a rollout and its listener through AWS itself. Nothing of it counts as an effect of Panda's calls.

use std::sync::Arc;

use serde::Deserialize;

use super::aws::codedeploy::BlueGreenStatus;
use super::pipeline::{self, Stop, native};
use super::simulation::Simulation;

/// An act on the unfinished deployment of a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ConsoleAct {
    /// Reroutes the traffic of a waiting deployment.
    Continue,
    /// Stops the deployment, and leaves the traffic where it is.
    Stop,
    /// Stops the deployment, and takes the traffic back.
    RollBack,
    /// An alarm of the deployment group stops the deployment and takes the traffic back.
    Alarm,
}

/// Carries out `act` on the newest unfinished rollout of `repository`; returns its id, or why there is none.
pub fn act(simulation: &Arc<Simulation>, repository: &str, act: ConsoleAct) -> Result<String, String> {
    match on_ecs(simulation, repository, act) {
        Some(done) => done,
        None => on_code_deploy(simulation, repository, act),
    }
}

/// Acts on a service deployment of ECS; none if there is no unfinished one.
fn on_ecs(simulation: &Arc<Simulation>, repository: &str, act: ConsoleAct) -> Option<Result<String, String>> {
    let arn = simulation.change(|state| {
        let unfinished = state.service_deployments.values_mut();
        let unfinished = unfinished.filter(|found| found.repository == repository && found.status.advances());
        let found = unfinished.max_by_key(|found| found.created)?;
        if act == ConsoleAct::Continue {
            if !found.is_paused() {
                return Some(Err(format!("deployment {} does not wait: {}", found.arn, found.status.name())));
            }
            found.answer("SUCCEEDED");
        }
        Some(Ok(found.arn.clone()))
    })?;
    let arn = match arn {
        Ok(arn) => arn,
        refused => return Some(refused),
    };
    match act {
        ConsoleAct::Continue => {}
        ConsoleAct::Stop => _ = native::abort(simulation, &arn),
        ConsoleAct::RollBack => _ = native::roll_back(simulation, &arn, "Stopped in the console.", None),
        ConsoleAct::Alarm => {
            _ = native::roll_back(simulation, &arn, "A deployment alarm is in ALARM.", Some("checkout-errors"));
        }
    }
    Some(Ok(arn))
}

/// Acts on the newest unfinished deployment of CodeDeploy.
fn on_code_deploy(simulation: &Arc<Simulation>, repository: &str, act: ConsoleAct) -> Result<String, String> {
    let id = simulation.change(|state| {
        let unfinished =
            state.deployments.values_mut().filter(|found| found.repository == repository && !found.status.is_final());
        let found =
            unfinished.max_by_key(|found| found.created).ok_or("the repository has no unfinished deployment")?;
        if act == ConsoleAct::Continue {
            if found.status != BlueGreenStatus::Ready || found.stopping {
                return Err(format!("deployment {} does not wait: {}", found.id, found.status.name()));
            }
            found.status = BlueGreenStatus::InProgress;
        }
        Ok(found.id.clone())
    })?;
    let manual =
        |rollback| Stop { code: "MANUAL_STOP", message: "The deployment was stopped in the console.", rollback };
    let alarm = Stop {
        code: "ALARM_ACTIVE",
        message: "One or more alarms have been activated according to the Amazon CloudWatch metrics you selected.",
        rollback: true,
    };
    match act {
        ConsoleAct::Continue => pipeline::shift(simulation, id.clone()),
        ConsoleAct::Stop => pipeline::stop_for(simulation, id.clone(), manual(false)),
        ConsoleAct::RollBack => pipeline::stop_for(simulation, id.clone(), manual(true)),
        ConsoleAct::Alarm => pipeline::stop_for(simulation, id.clone(), alarm),
    }
    Ok(id)
}

/// Largest weight of a target group in AWS.
const LARGEST_WEIGHT: u32 = 999;

/// Changes the weights of the production listener of `repository`, as infrastructure code does that knows nothing of the deployment.
pub fn set_weights(simulation: &Simulation, repository: &str, blue: u32, green: u32) -> Result<(), String> {
    if blue.max(green) > LARGEST_WEIGHT {
        return Err(format!("weights are 0 to {LARGEST_WEIGHT}"));
    }
    let service = simulation.fleet.running_service(repository);
    service.ok_or("the repository has no service yet")?.set_weights(blue, green);
    Ok(())
}
