//! What people and alarms do to a `CodeDeploy` deployment through AWS itself. Nothing of it counts as an effect of Panda's calls.

use std::sync::Arc;

use serde::Deserialize;

use super::aws::codedeploy::BlueGreenStatus;
use super::pipeline::{self, Stop};
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

/// Carries out `act` on the newest unfinished deployment of `repository`; returns its id, or why there is none.
pub fn act(simulation: &Arc<Simulation>, repository: &str, act: ConsoleAct) -> Result<String, String> {
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
