//! What runs by itself once an event has arrived: the state machine's execution, and the `CodeDeploy` deployment beside it.
//!
//! The two are separate, as in AWS: an execution that fails or is stopped leaves its deployment where it is, and a deployment
//! that is continued or stopped goes on whatever becomes of the execution, which only looks at it.

mod deployment;
mod execution;
mod states;
mod task;

use std::sync::Arc;

use serde_json::Value;

use super::world::World;
pub use deployment::{shift, stop};

/// Starts an execution for an `ECR Image Action` event that reached the state machine.
pub fn start(world: &Arc<World>, event: Value) {
    let shared = Arc::clone(world);
    world.spawn(async move { execution::run(&shared, event).await });
}
