//! The background work after an event: the state machine's execution, and the rollout of `CodeDeploy` or ECS.
//!
//! The two are independent, as in AWS: an execution that fails or is stopped does not change its deployment, and a deployment
//! that is continued or stopped proceeds independently of the execution, which only polls it.

mod deployment;
mod execution;
mod green;
pub mod native;
mod states;
mod task;

use std::sync::Arc;

use serde_json::Value;

use super::simulation::Simulation;
pub use deployment::{Stop, create_waiting, shift, stop, stop_for};

/// Starts an execution for an `ECR Image Action` event that reached the state machine.
pub fn start(simulation: &Arc<Simulation>, event: Value) {
    let shared = Arc::clone(simulation);
    simulation.spawn(async move { execution::run(&shared, event).await });
}
